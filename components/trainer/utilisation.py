"""How much of what the devices could compute a training uses: MFU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from components.trainer.config import Precision
from components.trainer.records import Batch
from components.trainer.source import Source

# Multiplications and additions per second of dense matrix products, in 10¹²: of float32 without
# TF32, and of 16 bits. From NVIDIA's data sheets. The first name that is part of the device's.
_PEAKS = {
    "H200": (67.0, 989.0),
    "H100 PCIe": (51.0, 756.0),
    "H100": (67.0, 989.0),
    "A100": (19.5, 312.0),
    "L40S": (91.6, 362.0),
    "L4": (30.3, 121.0),
    "V100": (15.7, 125.0),
    "T4": (8.1, 65.0),
}


def peak_flops(precision: Precision) -> float:
    """What one device of this process can do in a second; NaN where that is not known."""
    for device in tf.config.list_physical_devices("GPU")[:1]:
        name = tf.config.experimental.get_device_details(device).get("device_name", "")
        for part, (single, half) in _PEAKS.items():
            if part in name:
                return 1e12 * (single if precision == "float32" else half)
    return math.nan


def flops_of_an_image(gradients: Callable[[Batch], Any], source: Source) -> float:
    """Floating-point operations that a function of a batch takes for an image of a source.

    What is inside of loops is not counted.
    """
    batch = {
        name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype)
        for name, spec in source.once(1).element_spec.items()
    }
    graph = tf.function(gradients).get_concrete_function(batch).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return float(profiler.profile(graph, options=options).total_float_ops)
