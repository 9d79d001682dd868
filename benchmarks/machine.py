"""What the machine is, and the most that it can do."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

import tensorflow as tf


class Limits(NamedTuple):
    """What this machine can do at most."""

    flops: float  # floating-point operations per second, in a large matrix product
    bandwidth: float  # bytes per second, read and written, in a large element-wise sum
    operation: float  # seconds that one operation on a small tensor takes

    def better(self, other: Limits) -> Limits:
        """The better of two measurements, as others may have been at work."""
        return Limits(
            max(self.flops, other.flops),
            max(self.bandwidth, other.bandwidth),
            min(self.operation, other.operation),
        )

    def __str__(self) -> str:
        return (
            f"Measured peaks: {self.flops / 1e9:.0f} GFLOP/s, {self.bandwidth / 1e9:.1f} GB/s of "
            f"memory traffic; an operation on a small tensor takes {self.operation * 1e6:.1f} µs."
        )


def limits() -> Limits:
    """Measures the machine: arithmetic and memory in the best case, the cost of an operation."""
    size, steps = 2048, 1000
    matrix = tf.random.normal([size, size])
    product = tf.function(tf.matmul)
    large = tf.random.normal([2**26])  # 256 MiB, beyond any cache
    add = tf.function(lambda x: x + 1.0)
    small = tf.random.normal([16, 64])

    @tf.function
    def chain(x):
        # Two operations that Grappler cannot join, as they alternate.
        def step(i, x):
            for _ in range(20):
                x = tf.tanh(x + small)
            return i + 1, x

        return tf.while_loop(lambda i, _: i < steps, step, (0, x))[1]

    for _ in range(2):
        product(matrix, matrix), add(large), chain(small)
    return Limits(
        flops=2 * size**3 / min(_timed(lambda: product(matrix, matrix)) for _ in range(10)),
        bandwidth=2 * 4 * 2**26 / min(_timed(lambda: add(large)[:1]) for _ in range(10)),
        operation=min(_timed(lambda: chain(small)) for _ in range(5)) / (40 * steps),
    )


def describe() -> str:
    """One line: processor, memory, versions."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, "
        f"{', '.join(gpus) or 'no GPU'}; Python {platform.python_version()}, TensorFlow "
        f"{tf.__version__}, Keras {version('keras')}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _timed(function: Callable[[], tf.Tensor]) -> float:
    started = time.perf_counter()
    function().numpy()
    return time.perf_counter() - started
