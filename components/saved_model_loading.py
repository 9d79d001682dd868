"""Whether a SavedModel can be loaded."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from components.errors import one_line


def failure(folder: Path) -> str:
    """Why a SavedModel cannot be loaded or has no default signature; empty if it can be served."""
    try:
        signatures = tf.saved_model.load(str(folder)).signatures
    except Exception as error:  # whatever a damaged graph makes TensorFlow raise
        return f"{folder.parent.name} cannot be loaded: {one_line(error)}"
    return "" if "serving_default" in signatures else f"{folder.parent.name} has no signature"
