"""Fingerprints of our code: what a component runs, what a whole run does, what workers need.

Nothing heavy is imported, so that a worker can tell quickly whether it has the same code.
"""

from __future__ import annotations

from components.versions import code_version
from pipeline import component_ids as ids

# What the components of ours run. Their sources are part of the cache keys.
_MODULES = {
    ids.EXAMPLE_GEN: ("components.example_gen.executor",),
    ids.STATISTICS_GEN: ("components.statistics_gen.executor",),
    ids.DATA_GATE: ("components.data_gate.executor",),
    ids.TRANSFORM: ("components.transform.executor",),
    ids.TRAINERS["vqvae"]: ("components.trainer.vqvae",),
    ids.TOKENIZER: ("components.tokenizer.executor",),
    ids.TRAINERS["prior"]: ("components.trainer.prior",),
    ids.BASELINE: ("components.baseline.executor",),
    ids.EVALUATOR: (
        "components.evaluator.executor",
        "components.evaluator.metrics",
        "components.evaluator.frechet",
        "components.evaluator.ratios",
    ),
    ids.PUSHER: ("components.pusher.executor",),
    ids.REPORT: ("pipeline.report.executor",),
}
# What Beam's workers run besides: encoding and decoding in bulk.
_BULK = ("pipeline.inference.bulk_encode", "pipeline.inference.bulk_decode")


def code_of(component: str) -> str:
    """Fingerprint of what a component runs; part of its cache key."""
    return code_version(*_MODULES[component])


def code_fingerprint() -> str:
    """Fingerprint of all code that the results of a run depend on; the report is none of them."""
    return code_version(*_results())


def worker_fingerprint() -> str:
    """Fingerprint of all code that a worker of Beam may be asked to run."""
    return code_version(*_results(), *_BULK)


def _results() -> tuple[str, ...]:
    results = (modules for name, modules in _MODULES.items() if name != ids.REPORT)
    return tuple(module for modules in results for module in modules)
