"""Speed of the training loop: over devices and processes, beside a bare step, and its input.

    python -m benchmarks.throughput

The network of `keras_example` on Fashion-MNIST, batch 128. Every case runs in processes of its
own. Logical devices and local processes share the same cores, so they show what sharing costs,
not what more hardware brings. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from benchmarks import fashion_mnist
from benchmarks.keras_example import EMBEDDING_DIM, NUM_CODES, ExampleVQVAE
from components import features
from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.loop import Places, fit
from components.trainer.optimizer import Adam
from components.trainer.progress import LOGGER
from components.trainer.run import make_reproducible
from components.trainer.steps import Steps
from components.trainer.strategy import build_strategy
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.config import QuantizerConfig

BATCH = 128
# Steps between two progress reports, which is how the loop's time is cut into intervals.
INTERVAL = 50
INTERVALS = 16
STAGE = StageConfig(
    steps=INTERVAL * INTERVALS, batch_size=BATCH, evaluate_every=10**6, checkpoint_every=10**6
)


class Intervals(logging.Handler):
    """Seconds of each interval of the loop; `between` is called, untimed, after each."""

    def __init__(self, between: Callable[[], None] = lambda: None):
        super().__init__()
        self._between = between
        self._started: float | None = None
        self.seconds: list[float] = []

    def emit(self, record):
        if not hasattr(record, "progress"):
            return
        if self._started is not None:
            self.seconds.append(time.perf_counter() - self._started)
        self._between()
        self._started = time.perf_counter()


def train(strategy: tf.distribute.Strategy, prepare=lambda vqvae, source: None) -> list[float]:
    """Seconds of the intervals of a training."""
    make_reproducible(0)
    with tempfile.TemporaryDirectory() as folder:
        source = fashion_mnist.source("train", Path(folder))
        with strategy.scope():
            quantizer = QuantizerConfig(num_codes=NUM_CODES, embedding_dim=EMBEDDING_DIM)
            vqvae = ExampleVQVAE(quantizer, fashion_mnist.variance())
        place_codebook(vqvae, source, seed=0)
        objective = VQVAEObjective(vqvae, tf.zeros([0]))
        objective.evaluate = lambda held_out: {"nmse": 0.0}
        objective.show = lambda step: None
        intervals = Intervals(prepare(vqvae, source) or (lambda: None))
        LOGGER.setLevel(logging.INFO)
        LOGGER.addHandler(intervals)
        places = Places(f"{folder}/checkpoints", f"{folder}/logs")
        fit(objective, source, source, STAGE, 0, strategy, places)
    return intervals.seconds


def beside_bare() -> dict[str, float]:
    """Seconds of an interval: the loop, its steps on one batch over and over, and bare steps."""
    seconds: dict[str, list[float]] = {"one batch": [], "bare": []}

    def prepare(vqvae, source):
        batch = next(iter(source.batches(BATCH, 0)))
        again = iter(tf.data.Dataset.from_tensors(batch).repeat())
        twin = VQVAEObjective(vqvae, tf.zeros([0]))
        averages = Averages(vqvae, STAGE.weight_ema)
        strategy = tf.distribute.get_strategy()
        steps = Steps(twin, optimizer(vqvae), averages, strategy, STAGE)
        bare = bare_steps(vqvae, batch, optimizer(vqvae))

        def between():
            for name, run in (("one batch", lambda: steps.run(again, INTERVAL)), ("bare", bare)):
                started = time.perf_counter()
                float(run()["loss"])
                seconds[name].append(time.perf_counter() - started)

        return between

    loop = train(tf.distribute.get_strategy(), prepare)
    # The first interval of each is tracing.
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {"loop": statistics.median(loop[1:]), **medians}


def optimizer(vqvae):
    return Adam(STAGE, vqvae.trainable_variables)


def bare_steps(vqvae, batch, adam) -> Callable[[], dict[str, tf.Tensor]]:
    """What a step cannot do without: loss, gradient, clipping, update."""

    @tf.function
    def run():
        outputs = {"loss": tf.zeros([])}
        for _ in tf.range(INTERVAL):
            with tf.GradientTape() as tape:
                found = vqvae(batch[features.IMAGE], training=True)
                loss = found["loss"]
            gradients = tape.gradient(loss, [each.value for each in vqvae.trainable_variables])
            gradients, _ = tf.clip_by_global_norm(gradients, STAGE.gradient_clip)
            updates = adam.updates(gradients) + vqvae.updates(found, found["statistics"])
            for variable, value in updates:
                variable.assign(value)
            outputs = {"loss": loss}
        return outputs

    return run


def _rate(strategy: tf.distribute.Strategy) -> dict[str, float]:
    return {"rate": INTERVAL * BATCH / statistics.median(train(strategy)[1:])}


def _logical(devices: int) -> dict[str, float]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, logical)
    return _rate(build_strategy("mirrored" if devices > 1 else "one_device"))


CASES = {
    "one device": lambda: _logical(1),
    "two logical devices": lambda: _logical(2),
    "two processes": lambda: _rate(build_strategy("multi_worker")),
    "bare": beside_bare,
}


def _start(case: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.throughput", "--case", case]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def _result(process: subprocess.Popen) -> dict[str, float]:
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"a case failed:\n{errors[-2000:]}")
    return json.loads(output.splitlines()[-1])


def _measure(case: str) -> dict[str, float]:
    if case != "two processes":
        return _result(_start(case))
    with (
        socket.create_server(("localhost", 0)) as one,
        socket.create_server(("localhost", 0)) as other,
    ):
        ports = [each.getsockname()[1] for each in (one, other)]
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in (0, 1)]
    processes = [_start(case, TF_CONFIG=json.dumps(task)) for task in tasks]
    first, _ = [_result(process) for process in processes]
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    case = parser.parse_args().case
    if case:
        print(json.dumps(CASES[case]()))
        return
    results = {}
    for name in CASES:
        results[name] = _measure(name)
        print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
    found = results.pop("bare")
    print(f"Batch {BATCH} in all; medians of {INTERVALS - 2} intervals of {INTERVAL} steps.\n")
    print("| on | images/s |\n|---|---|")
    for name, result in results.items():
        print(f"| {name} | {result['rate']:,.0f} |")
    print(
        f"\nIn one process by turns: the loop {1e3 * found['loop'] / INTERVAL:.2f} ms a step, its "
        f"steps on one batch over and over {1e3 * found['one batch'] / INTERVAL:.2f} ms, bare "
        f"steps on it {1e3 * found['bare'] / INTERVAL:.2f} ms. Waiting for input is "
        f"{1 - found['one batch'] / found['loop']:.1%} of the loop's time, and the loop takes "
        f"{found['loop'] / found['bare'] - 1:.1%} longer than bare steps (below zero: less than "
        "the noise)."
    )


if __name__ == "__main__":
    main()
