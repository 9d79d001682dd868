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
import os
import sys
import tempfile
from pathlib import Path

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


def network(data: data_set.DataSet, kind: str, num_codes: int) -> NetworkConfig:
    """The network of a row of the table; K codes per position, or as many by two of √K."""
    settings = {"num_codes": num_codes, "embedding_dim": DIM, **KINDS[kind]}
    if "depth" in settings:
        settings["num_codes"] = math.isqrt(num_codes)
    if settings.get("kind") == "fsq":
        settings["levels"] = (4,) * round(math.log(num_codes, 4))
    model = {"encoder": {"hidden_units": 32, "residual_units": 16}, "quantizer": settings}
    return NetworkConfig.model_validate({"image": data.image.model_dump(), "model": model})


def objective(
    data: data_set.DataSet, train: Source, kind: str, num_codes: int, seed: int
) -> VQVAEObjective:
    vqvae = VQVAE(network(data, kind, num_codes), data.variance, seed)
    return budget.placed(vqvae, train, seed)


def run(arguments: argparse.Namespace) -> None:
    """This core's share of the rows; a line of JSON for each of them and each seed."""
    core, cores = arguments.alone
    budget.on_one_core(core)
    data = data_set.colour().first({"eval": HELD_OUT})
    rows = [(num_codes, kind) for num_codes in arguments.codes for kind in arguments.kinds]
    with tempfile.TemporaryDirectory() as folder:
        splits = data.sources(Path(folder))
        for num_codes, kind in rows[core::cores]:
            make = functools.partial(objective, data, splits["train"], kind, num_codes)
            steps = budget.steps_within(arguments.seconds, make(0), splits["train"], BATCH, RATE)
            for seed in arguments.seeds:
                this = functools.partial(make, seed)
                _, found = budget.train(this, splits, seed, steps, BATCH, RATE)
                row = {**found, "steps": steps}
                print(json.dumps([num_codes, kind, row]), flush=True)
                print(f"{num_codes}, {kind}, seed {seed}: {row}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--codes", type=int, nargs="+", default=CODES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alone", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        run(arguments)
        return
    cores = len(os.sched_getaffinity(0))
    shares = [[str(core), str(cores)] for core in range(cores)]
    found = budget.in_processes("benchmarks.codebooks", shares, at_once=True)
    runs: dict[tuple[int, str], list[dict[str, float]]] = {}
    for num_codes, kind, row in (each for share in found for each in share):
        runs.setdefault((num_codes, kind), []).append(row)
    print(
        f"{arguments.seconds:.0f} CPU seconds on one core; batch {BATCH}, learning rate {RATE:g}, "
        f"D = {DIM} (fsq: log₄ K channels of 4 levels; depth 2: two codebooks of √K). Mean of "
        f"{len(arguments.seeds)} seeds and their range. Held out are {HELD_OUT:,} images.\n"
    )
    print("| K | quantizer | steps | codes used, % | perplexity | PSNR, dB | SSIM | NMSE |")
    print("|---|---|---|---|---|---|---|---|")
    for (num_codes, kind), each in sorted(runs.items(), key=lambda item: item[0][0]):
        cells = (
            *(f"{num_codes:,}", kind, f"{each[0]['steps']:,}"),
            *(spread(each, "code_usage", ".1f", 100), spread(each, "perplexity", ",.0f")),
            *(spread(each, "psnr", ".2f"), spread(each, "ssim", ".3f")),
            spread(each, "nmse", ".4f"),
        )
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
