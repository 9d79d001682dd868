"""Where the Trainer of the prior leaves what it exports.

Below the URI of its Model artifact lie:

    Format-Serving/   the combined SavedModel, where TFX looks for a model
    release/          the SavedModels that are served, one folder each, and `models.exported.FACTS`
      samples.png     what the prior draws
"""

from __future__ import annotations

from pathlib import Path

from tfx.utils import path_utils

from models.exported import SERVED

SAMPLES = "samples.png"


def release(model_uri: str | Path) -> Path:
    """Folder of what a release is made of besides the combined SavedModel."""
    return Path(model_uri, "release")


def saved_models(model_uri: str | Path) -> dict[str, Path]:
    """Folder of each SavedModel of a release, by `components.release_store.release.MODELS`."""
    served = {name: release(model_uri) / name for name in SERVED}
    return {**served, "evaluate": Path(path_utils.serving_model_path(str(model_uri)))}
