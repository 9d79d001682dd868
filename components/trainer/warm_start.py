"""Training that begins with the weights of the last release, as Baseline hands it out."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import tensorflow as tf
from tfx.utils import path_utils

from components.baseline.artifact import read
from components.literal_paths import plain
from components.trainer.progress import LOGGER

# File beside a trained SavedModel that says what its training began with.
RECORD = "warm_start.json"


def begin(
    model: keras.Model, wanted: bool, baseline: str | None, stage: str, before: int = 0
) -> str:
    """Gives `model` the weights of the last release, if that is wanted and they fit.

    To be called in the scope of the strategy that `model` was made in.

    Args:
        model: the VQ-VAE or the prior.
        wanted: whether it is to begin with them.
        baseline: the baseline artifact; None where there is none, as outside of a pipeline.
        stage: `vqvae` or `prior`, for what is said.
        before: variables of the release that come before those of `model`.

    Returns:
        What training begins with, for the release's manifest: `release 3`, or `random weights`
        and why.

    Raises:
        PipelineError: the baseline artifact is damaged.
    """
    if not wanted:
        return "random weights"
    reason = "there is none yet"
    version = read(baseline).copied if baseline else 0
    if version:
        reason = _assign(model, path_utils.serving_model_dir(baseline), version, before)
        if not reason:
            LOGGER.info("%s: begins with the weights of release %d", stage, version)
            return f"release {version}"
    LOGGER.warning("%s: begins with random weights, not those of a release: %s", stage, reason)
    return f"random weights: {reason}"


def weights(baseline: str | None) -> list[str]:
    """File patterns of the weights that a training may begin with, which decide its result."""
    if not baseline or not read(baseline).copied:
        return []
    return [f"{path_utils.serving_model_dir(baseline)}/variables/variables.data-*"]


def write_record(directory: str, begun_with: str) -> None:
    """Leaves what a training began with beside its SavedModel."""
    text = json.dumps({"vqvae": begun_with})
    Path(directory, RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(directory: str) -> str:
    """What `write_record` left."""
    return json.loads(Path(directory, RECORD).read_text(encoding="utf-8"))["vqvae"]


def _assign(model: keras.Model, saved_model: str, version: int, before: int) -> str:
    """Assigns a release's weights, or says why they do not fit and assigns none."""
    with plain(saved_model) as folder:
        reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    shapes = reader.get_variable_to_shape_map()
    names = {}
    for index, variable in enumerate(model.variables, start=before):
        name = f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"
        if name not in shapes or tuple(shapes[name]) != tuple(variable.shape):
            found = f"of shape {tuple(shapes[name])}" if name in shapes else "missing"
            return (
                f"in release {version} {variable.path} is {found}, this configuration's "
                f"has shape {tuple(variable.shape)}"
            )
        names[name] = variable
    for name, variable in names.items():
        variable.assign(reader.get_tensor(name))
    return ""
