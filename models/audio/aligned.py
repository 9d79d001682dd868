"""Two waveforms that are held against each other."""

from __future__ import annotations

import numpy as np


def check_aligned(original: np.ndarray, other: np.ndarray) -> None:
    """Refuses waveforms, float `[samples]`, of which one is longer.

    Raises:
        ValueError: they are not equally long, or have several channels.
    """
    if original.shape != other.shape or original.ndim != 1:
        raise ValueError(
            "both waveforms must be equally long and have one channel. Received: shapes "
            f"{original.shape} and {other.shape}"
        )
