"""Finds the release to compare with and copies it into the run."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.baseline.artifact import BaselineInfo, write
from components.errors import PipelineError
from components.release_store import store as release_store
from components.release_store.release import LATEST
from models.audio.config import SPECTROGRAM

NONE = 0  # compare with nothing


class Executor(base_executor.BaseExecutor):
    """See `components.baseline.component.Baseline`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact.

        Raises:
            PipelineError: the store is damaged, or has no release of the version named.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["baseline_model"])
        store, version = exec_properties["serving_path"], exec_properties["baseline_version"]
        shape = json.loads(exec_properties["image_shape"])
        if version < LATEST:
            raise PipelineError(
                f"baseline_version {version}: must be a version, {NONE} for none "
                f"or {LATEST} for the latest release"
            )
        if version == NONE:
            info = BaselineInfo(NONE, "there was no release to compare with")
        else:
            audio = json.loads(exec_properties["audio"] or "null")
            info = _copy(store, version, shape, audio, path_utils.serving_model_dir(artifact.uri))
        write(artifact.uri, info)
        artifact.set_int_custom_property("version", info.version)
        artifact.set_string_custom_property("reason", info.reason)


def _copy(
    store: str, version: int, image_shape: list[int], audio: dict[str, Any] | None, target: str
) -> BaselineInfo:
    """Copies a release's `evaluate` model to `target`, if there is one."""
    asked = None if version == LATEST else version
    with release_store.opened_if_any(store, asked, ["evaluate"]) as release:
        if release is None:
            return BaselineInfo(NONE, f"nothing has been released to {store} yet")
        io_utils.copy_dir(str(release.evaluate), target)
        facts = release.manifest.get("model") or {}
        released_shape = facts.get("image")
        if released_shape != image_shape:
            return BaselineInfo(
                NONE,
                f"release {release.version} was made for images of shape {released_shape}, "
                f"this run's are {image_shape}",
                copied=release.version,
            )
        if other := _other_sound(facts.get("audio"), audio):
            return BaselineInfo(
                NONE, f"release {release.version} was made for {other}", copied=release.version
            )
        return BaselineInfo(release.version, copied=release.version)


def _other_sound(released: dict[str, Any] | None, own: dict[str, Any] | None) -> str:
    """How the spectrograms of a release differ from this run's; empty if they do not."""
    if own is None or released is None:
        kinds = ["images" if each is None else "audio" for each in (released, own)]
        return "" if kinds[0] == kinds[1] else f"{kinds[0]}, this run's data are {kinds[1]}"
    for name in SPECTROGRAM:
        if released.get(name) != own[name]:
            return f"audio of {name} {released.get(name)}, this run's is {own[name]}"
    return ""
