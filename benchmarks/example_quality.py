"""Quality of the quantizers at one budget: Fashion-MNIST, 5 epochs, three seeds.

    python -m benchmarks.example_quality
    python -m benchmarks.example_quality --seeds 0 --only "EMA"

All train the network of `keras_example` with the pipeline's own training loop: batch 128, Adam,
the same learning rates, the same order of the images. NMSE, codes used and perplexity are those
of the 10,000 held-out images. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import budget, data_set, fashion_mnist
from benchmarks.keras_example import EMBEDDING_DIM, NUM_CODES, ExampleVQVAE
from benchmarks.spread import spread
from components.trainer.source import Source
from components.trainer.vqvae import VQVAEObjective
from models.config import QuantizerConfig

EPOCHS, BATCH = 5, 128
PLAIN = {"kmeans_iterations": 0, "restart_threshold": 0.0}
GRADIENT, DEFAULT = "gradient VQ (eq. 3)", "EMA + restart + k-means start (default)"
QUANTIZERS = {
    GRADIENT: {"kind": "gradient", **PLAIN},
    "EMA": {"kind": "ema", **PLAIN},
    DEFAULT: {},
    "default + rotation trick": {"estimator": "rotation"},
    "FSQ, levels 8·4·4": {"kind": "fsq", "levels": (8, 4, 4)},
}


def train(settings: dict, seed: int, splits: dict[str, Source]) -> dict[str, float]:
    """Trains one quantizer; metrics of the held-out images."""
    quantizer = QuantizerConfig(num_codes=NUM_CODES, embedding_dim=EMBEDDING_DIM, **settings)

    def make() -> VQVAEObjective:
        vqvae = ExampleVQVAE(quantizer, fashion_mnist.variance(), seed)
        return budget.placed(vqvae, splits["train"], seed)

    steps = EPOCHS * len(fashion_mnist.images("train")) // BATCH
    return budget.train(make, splits, seed, steps, BATCH, 1e-3)[1]


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """The results as Markdown: the mean, and the range over the seeds."""
    lines = [
        "| quantizer | NMSE | against gradient VQ | codes used, % | perplexity |",
        "|---|---|---|---|---|",
    ]
    reference = _mean(results[GRADIENT], "nmse") if GRADIENT in results else None
    for name, runs in results.items():
        change = f"{_mean(runs, 'nmse') / reference - 1:+.0%}" if reference else ""
        lines.append(
            f"| {name} | {spread(runs, 'nmse', '.4f')} | {change} "
            f"| {spread(runs, 'code_usage', '.1f', 100)} | {spread(runs, 'perplexity', '.1f')} |"
        )
    return "\n".join(lines)


def _mean(runs: list[dict[str, float]], metric: str) -> float:
    return statistics.mean(run[metric] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=QUANTIZERS, default=list(QUANTIZERS))
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as folder:
        splits = data_set.clothing().sources(Path(folder))
        for seed in arguments.seeds:
            for name, runs in results.items():
                runs.append(train(QUANTIZERS[name], seed, splits))
                print(f"seed {seed}, {name}: {runs[-1]}", file=sys.stderr, flush=True)
    print(
        f"{EPOCHS} epochs of batch {BATCH}; K = {NUM_CODES}, D = {EMBEDDING_DIM} (FSQ: 3). Mean "
        f"of {len(arguments.seeds)} seeds and their range. A constant image has NMSE 1, the "
        "largest perplexity is K.\n"
    )
    print(table(results))


if __name__ == "__main__":
    main()
