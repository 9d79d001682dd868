"""Training that begins with the weights of an earlier release."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import tensorflow as tf

from components.literal_paths import plain
from components.release_store import store as release_store
from components.release_store.release import Release
from components.trainer.config import WarmStart
from components.trainer.progress import LOGGER

# File beside a trained SavedModel that says what its training began with.
RECORD = "warm_start.json"


def begin(model: keras.Model, warm_start: WarmStart | None, stage: str, before: int = 0) -> str:
    """Gives `model` the weights of a release, if one is asked for and fits.

    To be called in the scope of the strategy that `model` was made in.

    Args:
        model: the VQ-VAE or the prior.
        warm_start: which release; None for none.
        stage: `vqvae` or `prior`, for what is said.
        before: variables of the release that come before those of `model`.

    Returns:
        What training begins with, for the release's manifest: `release 3`, or `random weights`
        and why.

    Raises:
        StoreError: the release named does not exist or is damaged.
    """
    if warm_start is None:
        return "random weights"
    reason = "there is none yet"
    if warm_start.version != 0:
        with release_store.opened(warm_start.store, warm_start.version, ["evaluate"]) as release:
            if release is not None:
                reason = _assign(model, release, before)
                if not reason:
                    LOGGER.info("%s: begins with the weights of release %d", stage, release.version)
                    return f"release {release.version}"
    LOGGER.warning("%s: begins with random weights, not those of a release: %s", stage, reason)
    return f"random weights: {reason}"


def write_record(directory: str, begun_with: str) -> None:
    """Leaves what a training began with beside its SavedModel."""
    text = json.dumps({"vqvae": begun_with})
    Path(directory, RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(directory: str) -> str:
    """What `write_record` left."""
    return json.loads(Path(directory, RECORD).read_text(encoding="utf-8"))["vqvae"]


def _assign(model: keras.Model, release: Release, before: int) -> str:
    """Assigns the release's weights, or says why they do not fit and assigns none."""
    with plain(release.evaluate) as folder:
        reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    shapes = reader.get_variable_to_shape_map()
    names = {}
    for index, variable in enumerate(model.variables, start=before):
        name = f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"
        if name not in shapes or tuple(shapes[name]) != tuple(variable.shape):
            found = f"of shape {tuple(shapes[name])}" if name in shapes else "missing"
            return (
                f"in release {release.version} {variable.path} is {found}, this configuration's "
                f"has shape {tuple(variable.shape)}"
            )
        names[name] = variable
    for name, variable in names.items():
        variable.assign(reader.get_tensor(name))
    return ""
