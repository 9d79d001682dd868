"""Component that brings the last release into the run, for the Evaluator to compare with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import Channel, component_spec, standard_artifacts

from components.baseline.executor import Executor
from components.release_store.release import LATEST
from models.audio.config import AudioConfig


class BaselineSpec(component_spec.ComponentSpec):
    """Interface of `Baseline`."""

    PARAMETERS = {
        "serving_path": component_spec.ExecutionParameter(type=str),
        "baseline_version": component_spec.ExecutionParameter(type=int),
        "image_shape": component_spec.ExecutionParameter(type=str),
        "audio": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class Baseline(base_component.BaseComponent):
    """Copies a release's `evaluate` model into an artifact, or says why there is none.

    A copy, since on Kubeflow only artifacts travel to the next pod, and since the artifact
    must stay what the run was judged against whatever happens to the store.

    The version is part of the cache key, so name it (`components.release_store.store.plan`): with
    `LATEST` a cached result does not notice a newer release.

    Outputs:
        baseline_model: Model; `components.baseline.read(uri)` tells its version. Empty but for
            that statement where nothing can be compared.
    """

    SPEC_CLASS = BaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        serving_path: str,
        image_shape: Sequence[int],
        baseline_version: int = LATEST,
        code_version: str = "",
        audio: AudioConfig | None = None,
    ):
        """Args:
        serving_path: folder of the release store.
        image_shape: (H, W, C) of this run's images; only a release with the same is comparable.
        baseline_version: a version; 0 for none; -1 for the latest when the component runs.
        code_version: hash of our code, for the cache key.
        audio: what this run's spectrograms are made with; only a release with the same is
            comparable. None for images.
        """
        super().__init__(
            spec=BaselineSpec(
                serving_path=serving_path,
                baseline_version=baseline_version,
                image_shape=json.dumps(list(image_shape)),
                audio=audio.model_dump_json() if audio else "",
                code_version=code_version,
                baseline_model=Channel(type=standard_artifacts.Model),
            )
        )
