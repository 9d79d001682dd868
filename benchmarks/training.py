"""Speed of a training step, against Keras `fit` on the same network and images.

    python -m benchmarks.training
    python -m benchmarks.training --rounds 5

Three contenders train the network of `keras_example` on Fashion-MNIST, batch 128, Adam: Keras
`fit` with the example's one-hot quantizer, Keras `fit` with our quantizer, and the pipeline's own
loop. Every case runs in a process of its own, one at a time, in alternation; what is timed starts
after tracing. Then one profile of our loop says where the time goes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

from benchmarks import fashion_mnist, step_profile
from benchmarks.fashion_mnist import IMAGE
from benchmarks.keras_example import (
    CODE_SHAPE,
    EMBEDDING_DIM,
    NUM_CODES,
    ExampleVQVAE,
    OneHotQuantizer,
    decoder,
    encoder,
)
from benchmarks.machine import Limits, limits
from components import features
from components.trainer.config import StageConfig
from components.trainer.loop import Places, fit
from components.trainer.progress import LOGGER
from components.trainer.run import make_reproducible
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.config import QuantizerConfig

BATCH = 128
# Steps that are timed, after as many that are not.
STEPS = 450
QUANTIZER = QuantizerConfig(num_codes=NUM_CODES, embedding_dim=EMBEDDING_DIM)
CONTENDERS = {
    "keras": "Keras `fit`, one-hot quantizer",
    "keras-ours": "Keras `fit`, our quantizer",
    "ours": "the pipeline's loop, our quantizer",
}


class Example(keras.Model):
    """The Keras example's model."""

    def __init__(self):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder(), OneHotQuantizer(), decoder()

    def call(self, images):
        return self.decoder(self.quantizer(self.encoder(images)))


class Fitted(ExampleVQVAE):
    """Our model, trained by Keras `fit`."""

    def call(self, images, training=False):
        found = super().call(images, training=training)
        if training:
            for variable, value in self.updates(found, found["statistics"]):
                variable.assign(value)
        return found["loss"]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred


class _Clock(keras.callbacks.Callback):
    """Images per second of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"]
        self.rate = steps * BATCH / (time.perf_counter() - self._started)


class _Stopwatch(logging.Handler):
    """Images per second of the second half of a training, from its progress reports.

    Args:
        profile_to: folder for a profile of the second half, or None.
    """

    def __init__(self, profile_to: Path | None = None):
        super().__init__()
        self._profile_to = profile_to
        self._begun: tuple[int, float] | None = None

    def emit(self, record):
        if not hasattr(record, "progress"):
            return
        step = record.progress.step
        if self._begun is None and step >= STEPS:
            if self._profile_to:
                tf.profiler.experimental.start(str(self._profile_to))
            self._begun = step, time.perf_counter()
        elif step == 2 * STEPS:
            first, started = self._begun
            self.rate = (step - first) * BATCH / (time.perf_counter() - started)
            if self._profile_to:
                tf.profiler.experimental.stop()


def _keras() -> dict:
    variance = fashion_mnist.variance()
    x = fashion_mnist.images("train").astype("float32") / 255.0 - 0.5
    model = Example()
    model.compile(keras.optimizers.Adam(), lambda y, p: keras.ops.mean((y - p) ** 2) / variance)
    return _fit(model, x, x)


def _keras_ours() -> dict:
    model = Fitted(QUANTIZER, fashion_mnist.variance())
    model.compile(keras.optimizers.Adam())
    return _fit(model, fashion_mnist.images("train"))


def _fit(model: keras.Model, *data) -> dict:
    data = [array[: STEPS * BATCH] for array in data]
    clock = _Clock()
    model.fit(*data, batch_size=BATCH, epochs=2, verbose=0, callbacks=[clock])
    return {"rate": clock.rate, "jit_compile": model.jit_compile}


def _ours() -> dict:
    return {"rate": _train()}


def _profile() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder))
        return {"shares": step_profile.shares(Path(folder)), "limits": limits()}


def _train(profile_to: Path | None = None) -> float:
    make_reproducible(0)
    stopwatch = _Stopwatch(profile_to)
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(stopwatch)
    with tempfile.TemporaryDirectory() as folder:
        train = fashion_mnist.source("train", Path(folder))
        vqvae = ExampleVQVAE(QUANTIZER, fashion_mnist.variance())
        place_codebook(vqvae, train, seed=0)
        shown = next(iter(train.once(16)))[features.IMAGE]
        stage = StageConfig(
            steps=2 * STEPS, batch_size=BATCH, evaluate_every=10_000, checkpoint_every=10_000
        )
        places = Places(checkpoints=f"{folder}/checkpoints", logs=f"{folder}/logs")
        strategy = tf.distribute.get_strategy()
        fit(VQVAEObjective(vqvae, shown), train, train, stage, 0, strategy, places)
    return stopwatch.rate


CASES = {"keras": _keras, "keras-ours": _keras_ours, "ours": _ours, "profile": _profile}


def compare(rounds: int) -> dict[str, list[float]]:
    """Images per second of each contender in each round."""
    rates: dict[str, list[float]] = {case: [] for case in CONTENDERS}
    for _ in range(rounds):
        for case, measured in rates.items():
            measured.append(_run(case)["rate"])
            print(f"{CONTENDERS[case]}: {measured[-1]:,.0f} images/s", file=sys.stderr, flush=True)
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """The comparison as Markdown; medians of the rates and of the ratios within a round."""
    lines = ["| trained by | images/s | ours is faster by |", "|---|---|---|"]
    for case, measured in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], measured, strict=True))
        faster = "" if case == "ours" else f"{ratio:.2f}x"
        lines.append(f"| {CONTENDERS[case]} | {statistics.median(measured):,.0f} | {faster} |")
    return "\n".join(lines)


def where_the_time_goes(rate: float) -> str:
    """Shares of a profile, and the step beside what its arithmetic and traffic take at least."""
    profiled = _run("profile")
    machine = Limits(*profiled["limits"])
    coded = step_profile.arithmetic(encoder(), IMAGE.hwc)
    decoded = step_profile.arithmetic(decoder(), (*CODE_SHAPE, EMBEDDING_DIM))
    # The gradients of the inputs and of the weights cost a forward pass each.
    flops = 3.0 * BATCH * (coded[0] + decoded[0])
    # Each value and its gradient are written once and read twice, as float32.
    traffic = 2 * 3 * 4.0 * BATCH * (coded[1] + decoded[1])
    shares = [f"{kind} {share:.0%}" for kind, share in profiled["shares"].items()]
    return (
        f"Time of the operations of our step: {', '.join(shares)}.\n\n{machine}\n\n"
        f"A step takes {1e3 * BATCH / rate:.1f} ms. Its convolutions are {flops / 1e9:.2f} GFLOP, "
        f"{1e3 * flops / machine.flops:.1f} ms at the peak; its activations and their gradients "
        f"{traffic / 1e6:.0f} MB, {1e3 * traffic / machine.bandwidth:.1f} ms at the peak."
    )


def _run(case: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.training", "--case", case]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(CASES[arguments.case]()))
        return
    rates = compare(arguments.rounds)
    print(f"Batch {BATCH}; {arguments.rounds} rounds of {STEPS} steps, after as many untimed.\n")
    print(table(rates))
    print()
    print(where_the_time_goes(statistics.median(rates["ours"])))


if __name__ == "__main__":
    main()
