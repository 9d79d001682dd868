"""Random weights that a seed decides, without a trace in the program's own random numbers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Keras's initializers made inside draw what `seed` decides.

    Without a seed of their own they take one from Python's generator, whose state is put back
    afterwards: a network that is built between two draws of somebody else changes neither.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
