"""Arithmetic of the networks: float32, or 16 bits with float32 weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Networks made inside compute in `name`: float32, bfloat16 or float16.

    Weights, the codebook, distances, likelihoods and the prior's logits are float32 in any case
    (or float64, where Keras's `floatx` is, with `float32`).
    """
    before = keras.config.dtype_policy()
    if name != "float32":
        keras.config.set_dtype_policy(f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def state_dtype() -> str:
    """Of what must not be rounded to 16 bits: float32, or float64 where Keras's `floatx` is."""
    return "float64" if keras.config.floatx() == "float64" else "float32"
