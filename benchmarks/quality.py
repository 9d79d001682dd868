"""Networks × quantizers × priors at one CPU budget: Fashion-MNIST and colour, three seeds.

    python -m benchmarks.quality
    python -m benchmarks.quality --data colour --seeds 0 --networks paper

Every VQ-VAE is trained for the same CPU seconds of one core with the pipeline's own loop, and
then each prior on its codes. The data sets have a process and a core of their own, and run at
once. All numbers are of held-out images. Prints Markdown. Wants Debian's `dataset-fashion-mnist`,
and a colour data set in data/cifar10, as `vqvae data cifar10` writes it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import budget, data_set
from benchmarks.spread import spread
from components.features import code_dtype
from components.stored_images import Parse
from components.trainer.prior import PriorObjective
from components.trainer.records import parse_codes
from components.trainer.source import Source
from components.trainer.vqvae import VQVAEObjective
from models.config import NetworkConfig, PriorConfig
from models.priors import build_prior
from models.vqvae import VQVAE
from tests.fixtures.examples import write_codes

DATA = {"Fashion-MNIST": data_set.clothing, "colour": data_set.colour}
# As small as they are so that a minute of one core is more than a few steps.
NETWORKS = {
    "paper": {"hidden_units": 32, "residual_units": 16},
    "resnet": {
        "kind": "resnet",
        "hidden_units": 8,
        "channel_multipliers": [1, 2, 4],
        "residual_blocks": 1,
    },
}
NUM_CODES = 256
_CODE_TYPE = code_dtype(NUM_CODES)
QUANTIZERS = {
    "ema": {},
    "simvq": {"kind": "simvq"},
    "fsq": {"kind": "fsq", "levels": [8, 8, 4]},
}
# Of about as many weights.
PRIORS = {
    "pixelcnn": {"layers": 5, "hidden_units": 32, "head_units": 64},
    "transformer": {"kind": "transformer", "layers": 4, "hidden_units": 48},
}
BATCH, RATE = 64, 1e-3
# The images that all are held against, the first; and those whose codes the priors learn.
HELD_OUT, CODED = 2_000, 20_000
CLASSES = 10
MEASURED = ("nmse", "psnr", "ssim", "code_usage", "perplexity")
_COLUMNS = (
    *(("nmse", ".4f"), ("psnr", ".2f"), ("ssim", ".3f")),
    *(("code_usage", ".1f", 100), ("perplexity", ".0f")),
)


def network(data: data_set.DataSet, name: str, quantizer: str) -> NetworkConfig:
    codes = {"num_codes": NUM_CODES, "embedding_dim": 32, **QUANTIZERS[quantizer]}
    image = data.image.model_dump()
    model = {"encoder": NETWORKS[name], "quantizer": codes}
    return NetworkConfig.model_validate({"image": image, "model": model})


class Study:
    """All rows of one data set.

    Args:
        data: its images.
        folder: for its records.
    """

    def __init__(self, data: data_set.DataSet, folder: Path):
        self._data = data.first({"eval": HELD_OUT})
        self._folder = folder
        self._splits = self._data.sources(folder / "images")

    def steps(self, name: str, quantizer: str, seconds: float) -> int:
        """Of a VQ-VAE that take so many CPU seconds."""
        objective = self._vqvae(name, quantizer, seed=0)
        return budget.steps_within(seconds, objective, self._splits["train"], BATCH, RATE)

    def prior_steps(self, kind: str, seconds: float) -> int:
        """Of a prior that take so many CPU seconds, whichever codes it learns."""
        vqvae = VQVAE(network(self._data, "paper", "ema"), 1.0)
        shape = (4 * BATCH, *vqvae.config.code_shape)
        codes = np.random.default_rng(0).integers(0, NUM_CODES, shape).astype(_CODE_TYPE)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            files = write_codes(Path(folder), "train", codes, np.arange(len(codes)) % CLASSES)
            train = Source(files, _parse(vqvae.config), 2**30)
            return budget.steps_within(seconds, _prior(kind, vqvae, 0), train, BATCH, RATE)

    def row(self, name: str, quantizer: str, seed: int, steps: dict[str, int]) -> dict[str, float]:
        """Trains one VQ-VAE and its priors; what all of them reach."""
        make = functools.partial(self._vqvae, name, quantizer, seed)
        count = steps[f"{name} {quantizer}"]
        objective, found = budget.train(make, self._splits, seed, count, BATCH, RATE)
        row = {metric: found[metric] for metric in MEASURED}
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            codes = self._codes(objective.model, Path(folder))
            for kind in PRIORS:
                make = functools.partial(_prior, kind, objective.model, seed)
                prior, found = budget.train(make, codes, seed, steps[kind], BATCH, RATE)
                row[kind] = found["bits_per_code_given_label"]
                row[f"{kind} weights"] = prior.model.count_params()
        return row

    def _vqvae(self, name: str, quantizer: str, seed: int) -> VQVAEObjective:
        config = network(self._data, name, quantizer)
        vqvae = VQVAE(config, self._data.variance, seed)
        return budget.placed(vqvae, self._splits["train"], seed)

    def _codes(self, vqvae: VQVAE, folder: Path) -> dict[str, Source]:
        """Of the first training images, and of all that are held out."""
        coded, found = self._data.first({"train": CODED}), {}
        for split, images in coded.images.items():
            batches = [vqvae.encode(images[at : at + 500]) for at in range(0, len(images), 500)]
            codes = np.concatenate(batches).astype(_CODE_TYPE)
            files = write_codes(folder, split, codes, coded.labels[split])
            found[split] = Source(files, _parse(vqvae.config), 2**30)
        return found


def _prior(kind: str, vqvae: VQVAE, seed: int) -> PriorObjective:
    config, shape = PriorConfig.model_validate(PRIORS[kind]), vqvae.config.code_shape
    return PriorObjective(build_prior(config, NUM_CODES, CLASSES, shape, seed), vqvae, seed)


def _parse(config: NetworkConfig) -> Parse:
    return parse_codes(config.code_shape, NUM_CODES)


def run(name: str, steps: str, arguments: argparse.Namespace) -> None:
    """One data set on one core: how many steps fit, or with those, each row and seed."""
    budget.on_one_core(list(DATA).index(name))
    rows = list(itertools.product(arguments.networks, arguments.quantizers))
    with tempfile.TemporaryDirectory() as folder:
        study = Study(DATA[name](), Path(folder))
        if not steps:
            of_vqvae, of_prior = arguments.seconds
            fit = {f"{each} {codes}": study.steps(each, codes, of_vqvae) for each, codes in rows}
            print(json.dumps(fit | {kind: study.prior_steps(kind, of_prior) for kind in PRIORS}))
            return
        for seed in arguments.seeds:
            for each, codes in rows:
                row = study.row(each, codes, seed, json.loads(steps))
                print(json.dumps([each, codes, row]), flush=True)
                print(f"{name}, seed {seed}, {each}, {codes}: {row}", file=sys.stderr, flush=True)


def table(rows: dict[tuple[str, str], list[dict[str, float]]]) -> str:
    """Means over the seeds and their ranges, as Markdown."""
    lines = [
        "| network | quantizer | NMSE | PSNR, dB | SSIM | codes used, % | perplexity "
        f"| {' | '.join(f'{kind}, bits per code' for kind in PRIORS)} |",
        f"|{'---|' * (7 + len(PRIORS))}",
    ]
    for (name, quantizer), runs in rows.items():
        cells = [spread(runs, *each) for each in _COLUMNS]
        cells += [spread(runs, kind, ".3f") for kind in PRIORS]
        lines.append(f"| {name} | {quantizer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--quantizers", nargs="+", choices=QUANTIZERS, default=list(QUANTIZERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, nargs=2, default=[45.0, 30.0])
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        run(*arguments.alone, arguments)
        return
    # Steps are timed while nothing else runs; after that, all cores are used.
    module, names = "benchmarks.quality", arguments.data
    timed = budget.in_processes(module, [[name, ""] for name in names], at_once=False)
    steps = [each for (each,) in timed]
    print(f"steps: {steps}", file=sys.stderr, flush=True)
    shares = [[name, json.dumps(each)] for name, each in zip(names, steps, strict=True)]
    found = budget.in_processes(module, shares, at_once=True)
    print(
        f"{arguments.seconds[0]:.0f} CPU seconds for a VQ-VAE and {arguments.seconds[1]:.0f} for "
        f"each prior, on one core; batch {BATCH}, learning rate {RATE:g}, K = {NUM_CODES}. Mean of "
        f"{len(arguments.seeds)} seeds and their range. Priors are given the label; they see the "
        f"codes of {CODED:,} images. Held out are {HELD_OUT:,} images."
    )
    for name, fit, lines in zip(names, steps, found, strict=True):
        rows: dict[tuple[str, str], list[dict[str, float]]] = {}
        for each, quantizer, row in lines:
            rows.setdefault((each, quantizer), []).append(row)
        print(f"\n### {name}\n\n{table(rows)}\n\n{sizes(fit, rows)}")


def sizes(steps: dict[str, int], rows: dict[tuple[str, str], list[dict[str, float]]]) -> str:
    """What the budget was: the steps of all, and the weights of each prior."""
    (row, *_), *_ = rows.values()
    weights = ", ".join(f"{kind} {row[f'{kind} weights']:,}" for kind in PRIORS)
    return f"Steps: {', '.join(f'{k} {v:,}' for k, v in steps.items())}. Weights: {weights}."


if __name__ == "__main__":
    main()
