"""Quantizers with small and with large codebooks on colour images, at one CPU budget.

    python -m benchmarks.codebooks
    python -m benchmarks.codebooks --kinds ema simvq --codes 1024 --seeds 0

All train the same network, 8×8 positions, for the same CPU seconds of one core with the pipeline's
own loop; the rows are shared out over the cores. All numbers are of held-out images. Prints
Markdown. Wants a colour data set in data/cifar10, as `vqvae data cifar10` writes it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from benchmarks import budget, data_set
from benchmarks.spread import spread
from components.trainer.source import Source
from components.trainer.vqvae import VQVAEObjective
from models.config import NetworkConfig
from models.vqvae import VQVAE

DIM, BATCH, RATE, HELD_OUT = 32, 64, 1e-3, 2_000
CODES = (1_024, 16_384, 65_536)
KINDS = {
    "ema": {},
    "ema, cosine": {"cosine": True},
    "simvq": {"kind": "simvq"},
    "simvq, cosine": {"kind": "simvq", "cosine": True},
    "fsq": {"kind": "fsq"},
    # As many bits per position, by two codes of √K.
    "ema, depth 2": {"depth": 2},
}


def network(data: data_set.DataSet, row: str) -> NetworkConfig:
    """The network of a row of the table; K codes per position, or as many by two of √K."""
    num_codes, kind = _parts(row)
    settings = {"num_codes": num_codes, "embedding_dim": DIM, **KINDS[kind]}
    if "depth" in settings:
        settings["num_codes"] = math.isqrt(num_codes)
    if settings.get("kind") == "fsq":
        settings["levels"] = (4,) * round(math.log(num_codes, 4))
    model = {"encoder": {"hidden_units": 32, "residual_units": 16}, "quantizer": settings}
    return NetworkConfig.model_validate({"image": data.image.model_dump(), "model": model})


def _parts(row: str) -> tuple[int, str]:
    """K and quantizer of a row."""
    num_codes, kind = row.split(" ", 1)
    return int(num_codes), kind


def objective(data: data_set.DataSet, train: Source, row: str, seed: int) -> VQVAEObjective:
    return budget.placed(VQVAE(network(data, row), data.variance, seed), train, seed)


def run(core: int, steps: str, arguments: argparse.Namespace) -> None:
    """How many steps of each row fit; or with those of some, these rows and each seed."""
    budget.on_one_core(core)
    data = data_set.colour().first({"eval": HELD_OUT})
    rows = [f"{num_codes} {kind}" for num_codes in arguments.codes for kind in arguments.kinds]
    with tempfile.TemporaryDirectory() as folder:
        splits = data.sources(Path(folder))
        if not steps:
            timed = {row: _steps(data, splits["train"], row, arguments.seconds) for row in rows}
            print(json.dumps(timed))
            return
        for row, count in json.loads(steps).items():
            for seed in arguments.seeds:
                make = functools.partial(objective, data, splits["train"], row, seed)
                _, found = budget.train(make, splits, seed, count, BATCH, RATE)
                print(json.dumps([row, found]), flush=True)
                print(f"{row}, seed {seed}: {found}", file=sys.stderr, flush=True)


def _steps(data: data_set.DataSet, train: Source, row: str, seconds: float) -> int:
    keras.utils.clear_session()
    # Placing a large codebook takes longer than all of this, and a step the same without.
    unplaced = VQVAEObjective(VQVAE(network(data, row), data.variance), tf.zeros([0]))
    return budget.steps_within(seconds, unplaced, train, BATCH, RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--codes", type=int, nargs="+", default=CODES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        core, steps = arguments.alone
        run(int(core), steps, arguments)
        return
    module = "benchmarks.codebooks"
    # Steps are timed while nothing else runs; after that, all cores are used.
    ((steps,),) = budget.in_processes(module, [["0", ""]], at_once=False)
    print(f"steps: {steps}", file=sys.stderr, flush=True)
    cores = budget.cores()
    parts = [dict(list(steps.items())[core::cores]) for core in range(cores)]
    shares = [[str(core), json.dumps(part)] for core, part in enumerate(parts)]
    found = budget.in_processes(module, shares, at_once=True)
    runs: dict[str, list[dict[str, float]]] = {}
    for row, measured in (each for share in found for each in share):
        runs.setdefault(row, []).append(measured)
    print(
        f"{arguments.seconds:.0f} CPU seconds on one core, without those in which the codebook is "
        f"placed; batch {BATCH}, learning rate {RATE:g}, "
        f"D = {DIM} (fsq: log₄ K channels of 4 levels; depth 2: two codebooks of √K). Mean of "
        f"{len(arguments.seeds)} seeds and their range. Held out are {HELD_OUT:,} images.\n"
    )
    print("| K | quantizer | steps | codes used, % | perplexity | PSNR, dB | SSIM | NMSE |")
    print("|---|---|---|---|---|---|---|---|")
    for row in steps:
        each, (num_codes, kind) = runs[row], _parts(row)
        cells = (
            *(f"{num_codes:,}", kind, f"{steps[row]:,}"),
            *(spread(each, "code_usage", ".1f", 100), spread(each, "perplexity", ",.0f")),
            *(spread(each, "psnr", ".2f"), spread(each, "ssim", ".3f")),
            spread(each, "nmse", ".4f"),
        )
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
