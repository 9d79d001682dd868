"""Which code a job needs and a worker has: they must be the same.

A job carries functions as references to our modules. A worker with other sources would run them
all the same, and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.versions import library_version
from pipeline.code_fingerprint import worker_fingerprint


def own() -> dict[str, str]:
    """What this installation is known by; travels with a job to the pool of workers."""
    return {
        "vqvae_code": worker_fingerprint(),
        "apache_beam": library_version("apache-beam") or "none",
        "tensorflow": library_version("tensorflow") or "none",
    }


def refusal(job: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """Why a worker does not run a job, in one line; empty where it does.

    Args:
        job: what the submitting side has sent.
        worker: the worker's own.
    """
    if worker.keys() - job.keys():
        return (
            "the job does not say which code it needs; this pool runs jobs of `vqvae` only, with "
            "beam.runner flink or portable"
        )
    different = [
        f"{name} {worker[name]} instead of {job[name]}"
        for name in worker
        if job[name] != worker[name]
    ]
    if not different:
        return ""
    return (
        f"the worker has other code than the job: {', '.join(different)}; start `vqvae "
        "beam-worker` from the image, or the checkout, that submits the job"
    )
