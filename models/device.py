"""What this process computes on, and how exactly; without Keras, for whoever only loads models."""

from __future__ import annotations

import tensorflow as tf


def has_gpu() -> bool:
    """Whether this process computes on a GPU; the first call starts TensorFlow's devices."""
    return bool(tf.config.list_logical_devices("GPU"))


def full_float32() -> None:
    """Lets float32 be float32 on GPUs, in this process.

    TensorFlow's default there is to round the factors of matrix products to 10 bits (TF32). With
    thousands of codes that gives one vector in a hundred another code than a CPU would. Who wants
    the speed of short numbers has `mixed_precision`, where the distances stay float32.
    """
    tf.config.experimental.enable_tensor_float_32_execution(False)
