"""TFX's executor of a run function, which tells it where the last release is too."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.types import artifact_utils

# Key of the custom config that a run function sees: the baseline artifact, if there is one.
BASELINE = "baseline_model"


class Executor(executor.GenericExecutor):
    """See `components.trainer.component.StageTrainer`."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        if found := input_dict.get(BASELINE):
            fn_args.custom_config[BASELINE] = artifact_utils.get_single_uri(found)
        return fn_args
