"""Quantizers with small and with large codebooks on colour images, at one budget.

    python -m benchmarks.codebooks --data DIR [--kinds ema simvq] [--codes 1024 16384 65536]
                                   [--seeds 0 1 2] [--steps 2000]

DIR holds `train/` and `eval/` as `vqvae data` writes them, of images that are cropped and resized
to 32×32. All train the same network, 8×8 positions, with the pipeline's own loop: batch 64, Adam,
the same learning rate, the same order of the images. Numbers are those of all held-out images.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.quality import spread
from components import features
from components.record_files import read_records
from components.trainer.config import StageConfig
from components.trainer.loop import Places, fit
from components.trainer.records import parse_images
from components.trainer.run import make_reproducible
from components.trainer.source import Source
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.config import NetworkConfig
from models.images import preprocess_images
from models.vqvae import VQVAE
from tests.fixtures.examples import write_images

SHAPE, DIM, BATCH = (32, 32, 3), 32, 64
CODES = (1_024, 16_384, 65_536)
KINDS = {
    "gradient": {"kind": "gradient"},
    "gradient, cosine": {"kind": "gradient", "cosine": True},
    "ema": {},
    "ema, cosine": {"cosine": True},
    "simvq": {"kind": "simvq"},
    "simvq, cosine": {"kind": "simvq", "cosine": True},
    "fsq": {"kind": "fsq"},
    # As many bits per position as K codes have, if that is a square number.
    "ema, depth 2": {"depth": 2},
}


def network(kind: str, num_codes: int) -> NetworkConfig:
    """The network of a row of the table; K codes per position, or as many by two of √K."""
    settings = {"num_codes": num_codes, "embedding_dim": DIM, **KINDS[kind]}
    if "depth" in settings:
        settings["num_codes"] = math.isqrt(num_codes)
    if settings.get("kind") == "fsq":
        settings["levels"] = (4,) * round(math.log(num_codes, 4))
    return NetworkConfig.model_validate(
        {
            "image": dict(zip(("height", "width", "channels"), SHAPE, strict=True)),
            "model": {"encoder": {"hidden_units": 64}, "quantizer": settings},
        }
    )


def train(config: NetworkConfig, seed: int, steps: int, splits: dict[str, Source], variance: float):
    """Trains one network; metrics of the held-out images."""
    make_reproducible(seed)
    vqvae = VQVAE(config, variance, seed)
    place_codebook(vqvae, splits["train"], seed)
    stage = StageConfig(steps=steps, batch_size=BATCH, learning_rate=1e-3, evaluate_every=steps)
    shown = next(iter(splits["eval"].once(16)))[features.IMAGE]
    with tempfile.TemporaryDirectory() as folder:
        return fit(
            VQVAEObjective(vqvae, shown),
            splits["train"],
            splits["eval"],
            stage,
            seed,
            tf.distribute.get_strategy(),
            Places(checkpoints=f"{folder}/checkpoints", logs=f"{folder}/logs"),
        )


def read(data: Path, split: str) -> np.ndarray:
    """All images of a split, uint8 `[N, 32, 32, 3]`."""
    spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}

    def decoded(records):
        return preprocess_images(tf.io.parse_example(records, spec)[features.IMAGE], SHAPE)

    files = sorted(str(path) for path in (data / split).iterdir())
    return np.concatenate(list(read_records(files).batch(512).map(decoded).as_numpy_iterator()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--codes", type=int, nargs="+", default=CODES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    print(
        f"{arguments.steps:,} steps of batch {BATCH}, D = {DIM} (fsq: log₄ K channels of 4 "
        f"levels). Mean of {len(arguments.seeds)} seeds and their range; {arguments.data}.\n"
    )
    print("| K | quantizer | codes used, % | perplexity | PSNR, dB | SSIM | NMSE |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        images = {split: read(arguments.data, split) for split in ("train", "eval")}
        variance = float(np.var(images["train"] / np.float32(255.0), axis=(0, 1, 2)).mean())
        shape = network("ema", CODES[0]).image
        splits = {
            split: Source(write_images(Path(folder), split, each), parse_images(shape), 2**30)
            for split, each in images.items()
        }
        del images
        for num_codes in arguments.codes:
            for kind in arguments.kinds:
                runs = []
                for seed in arguments.seeds:
                    keras.utils.clear_session()
                    config = network(kind, num_codes)
                    runs.append(train(config, seed, arguments.steps, splits, variance))
                    print(f"{num_codes}, {kind}, {seed}: {runs[-1]}", file=sys.stderr, flush=True)
                print(
                    f"| {num_codes:,} | {kind} | {spread(runs, 'code_usage', '.1f', 100)} "
                    f"| {spread(runs, 'perplexity', ',.0f')} | {spread(runs, 'psnr', '.2f')} "
                    f"| {spread(runs, 'ssim', '.3f')} | {spread(runs, 'nmse', '.4f')} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
