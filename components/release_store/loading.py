"""Whether a SavedModel of a release can be loaded, and says that it is of that release."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from components.errors import one_line
from components.literal_paths import plain
from components.release_store.release import Release
from models.device import full_float32


def load(folder: str | Path) -> tf.Module:
    """A SavedModel; TensorFlow by itself takes a path with brackets for a pattern.

    What this process computes from here on is full float32, so that images have the codes here
    that they had in training.
    """
    full_float32()
    with plain(folder) as path:
        return tf.saved_model.load(path)


def failure(release: Release, model: str) -> str:
    """Why a SavedModel of a release, one of `MODELS`, cannot be served; empty if it can.

    A model with the signature `identity` is asked for its release and its codebook, which must be
    those of the manifest: clients believe it when they decide whether codes fit.
    """
    try:
        signatures = load(release.path(model)).signatures
        if "serving_default" not in signatures:
            return f"{model} has no signature"
        if "identity" not in signatures:  # evaluate, and models of earlier versions
            return ""
        answer = signatures["identity"](rows=tf.zeros([1], tf.int32))
        version, sha256 = (answer[name].numpy()[0] for name in ("release", "codebook_sha256"))
    except Exception as error:  # whatever a damaged graph makes TensorFlow raise
        return f"{model} cannot be loaded: {one_line(error)}"
    said = f"release {version}, codebook {sha256.decode()}"
    expected = f"release {release.version}, codebook {release.manifest.get('codebook_sha256')}"
    return "" if said == expected else f"{model} says it is of {said}, the manifest of {expected}"
