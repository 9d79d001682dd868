"""Whether a machine's GPUs train and compute what its CPU does, and how fast.

    make gpu-check                              writes benchmarks/gpu.md
    python -m benchmarks.gpu_check --cpu --small    the check itself, checked without a GPU

Every case runs in a process of its own, one after the other, and the CPU's is the reference: it
trains a VQ-VAE and a prior for some steps, and encodes, decodes and judges with the weights that
it ends with. The devices must go through the same losses, and find the same with those weights.
Then a training that was stopped and goes on is held against one that was not, and the speed is
measured, in float32 and in bfloat16. Exit status 1 where a bound is missed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.gpu_training import CLASSES, SMALL, USUAL, Size, codes, images, train
from components.trainer.progress import LOGGER
from components.trainer.run import make_reproducible
from models.device import has_gpu
from models.sampler import sample as sample_codes

# Steps that are held against the CPU's. Longer ones drift apart by rounding alone.
STEPS = 20
# How far apart the devices and the CPU may be.
BOUNDS = {
    "loss of a step, VQ-VAE": 1e-3,  # relative
    "loss of a step, prior": 1e-3,
    "codes that differ": 1e-3,  # a share of them
    "grey levels of decoded images": 1.0,
    "nats of an image's codes": 1e-4,  # relative
    "weights after a resume": 0.0,
}


def computed(folder: Path, size: Size) -> dict[str, np.ndarray]:
    """The losses of some steps, and what the reference's weights make of images and codes.

    The first process that is called leaves its weights in the folder for the others.
    """
    make_reproducible(0)
    found, models = {}, {}
    for stage in ("vqvae", "prior"):
        with tempfile.TemporaryDirectory() as scratch:
            objective, _ = train(stage, size, STEPS, scratch, steps_per_call=1)
        found[f"{stage} losses"] = np.array(objective.losses)
        path, models[stage] = folder / f"{stage}.npz", objective.model
        if not path.exists():
            np.savez(path, *[each.numpy() for each in objective.model.variables])
        with np.load(path) as weights:
            for variable, name in zip(objective.model.variables, weights.files, strict=True):
                variable.assign(weights[name])
    vqvae, prior = models["vqvae"], models["prior"]
    found["codes"] = tf.function(vqvae.encode)(images(size)[: size.batch]).numpy()
    drawn = codes(size)[: size.batch]
    found["images"] = tf.function(vqvae.decode)(drawn).numpy().astype("float64")
    labels = tf.range(size.batch) % CLASSES
    found["log prob"] = tf.function(prior.log_prob)(drawn, labels).numpy()
    return found


def resumed(folder: Path, size: Size) -> dict[str, np.ndarray]:
    """How far the weights of a training that goes on are from those of one that ran through."""
    make_reproducible(0, deterministic=True)
    weights = []
    for steps in ((STEPS,), (STEPS // 2, STEPS)):
        with tempfile.TemporaryDirectory() as scratch:
            for each in steps:
                objective, _ = train("vqvae", size, each, scratch)
        weights.append([each.numpy() for each in objective.model.variables])
    pairs = zip(*weights, strict=True)
    return {"difference": np.array(max(np.abs(one - other).max() for one, other in pairs))}


def timed(folder: Path, size: Size) -> dict[str, np.ndarray]:
    """Images per second and per device, MFU and peak memory of both trainings; and of sampling."""
    make_reproducible(0)
    found = {}
    for stage in ("vqvae", "prior"):
        for kind in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as scratch:
                objective, seen = train(stage, size, size.timed, scratch, kind)
            rates = [each.images_per_second for each in seen[1:]]
            found[f"{stage} {kind}"] = np.array(
                [
                    statistics.median(rates),
                    statistics.median(each.mfu for each in seen[1:]),
                    _peak(),
                ]
            )
    sample = tf.function(functools.partial(sample_codes, objective.model))
    labels, seed = tf.range(size.batch) % CLASSES, tf.constant(0, tf.int64)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        sample(labels, seed, 1.0).numpy()
        seconds.append(time.perf_counter() - started)
    found["sampling"] = np.array([size.batch / min(seconds[1:]), np.nan, _peak()])
    return found


def _peak() -> float:
    """GiB of the first GPU that were in use at most since the last call; NaN without one."""
    if not has_gpu():
        return float("nan")
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak / 2**30


CASES = {"computed": computed, "resumed": resumed, "timed": timed}


def differences(cpu: dict, devices: dict, resume: dict) -> dict[str, float]:
    """What is held against `BOUNDS`."""

    def relative(name: str) -> float:
        return float(np.max(np.abs(devices[name] / cpu[name] - 1.0)))

    return {
        "loss of a step, VQ-VAE": relative("vqvae losses"),
        "loss of a step, prior": relative("prior losses"),
        "codes that differ": float(np.mean(cpu["codes"] != devices["codes"])),
        "grey levels of decoded images": float(np.max(np.abs(cpu["images"] - devices["images"]))),
        "nats of an image's codes": relative("log prob"),
        "weights after a resume": float(resume["difference"]),
    }


def report(found: dict[str, float], speed: dict[str, np.ndarray], size: Size) -> str:
    """Both tables, as Markdown."""
    lines = [
        f"{size.side}×{size.side}×3, {size.units} channels, batch {size.batch}; prior of "
        f"{size.layers} layers.",
        "",
        "| against the CPU | found | bound | |",
        "|---|---|---|---|",
        *(
            f"| {name} | {found[name]:.2g} | {bound:g} | {'✔' if found[name] <= bound else '✘'} |"
            for name, bound in BOUNDS.items()
        ),
        "",
        "| | images/s | MFU | peak memory, GiB |",
        "|---|---|---|---|",
    ]
    for name, (rate, mfu, peak) in speed.items():
        share = "" if np.isnan(mfu) else f"{mfu:.1%}"
        lines.append(
            f"| {name} | {rate:,.0f} | {share} | {'' if np.isnan(peak) else f'{peak:.2f}'} |"
        )
    return "\n".join(lines)


def _run(case: str, folder: Path, small: bool, cpu: bool = False) -> dict[str, np.ndarray]:
    print(f"== {case}{' on the CPU' if cpu else ''}", file=sys.stderr, flush=True)
    out = folder / f"{case}-{'cpu' if cpu else 'devices'}.npz"
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--case", json.dumps([case, str(out)])]
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if cpu else {}
    done = subprocess.run(
        [*command, *(["--small"] if small else [])],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **hidden},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
    return dict(np.load(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="go on where there is no GPU")
    parser.add_argument("--small", action="store_true", help="networks that take seconds")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = SMALL if arguments.small else USUAL
    if arguments.case:
        LOGGER.setLevel(logging.INFO)
        case, out = json.loads(arguments.case)
        np.savez(out, **CASES[case](Path(out).parent, size))
        return
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and not arguments.cpu:
        raise SystemExit(
            "TensorFlow finds no GPU here; its CUDA libraries come with requirements-gpu.lock "
            "(--cpu runs the check on the CPU alone)"
        )
    names = [tf.config.experimental.get_device_details(gpu)["device_name"] for gpu in gpus]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cpu = _run("computed", folder, arguments.small, cpu=True)
        found = differences(
            cpu,
            _run("computed", folder, arguments.small),
            _run("resumed", folder, arguments.small),
        )
        speed = _run("timed", folder, arguments.small)
    print(f"{', '.join(names) or 'no GPU'}; TensorFlow {tf.__version__}.\n")
    print(report(found, speed, size))
    missed = [name for name, bound in BOUNDS.items() if not found[name] <= bound]
    if missed:
        raise SystemExit(f"beyond its bound: {', '.join(missed)}")


if __name__ == "__main__":
    main()
