"""Runs TFX's Evaluator against the last release, or without one where there is none."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.components.evaluator import executor
from tfx.types import artifact_utils
from tfx.utils import json_utils

from components import baseline
from components.evaluator import extractors, results
from components.evaluator.eval_config import eval_config, to_json
from components.evaluator.gate import GateConfig


class Executor(executor.Executor):
    """TFX's Evaluator, with a baseline that may hold no release and batches that are bounded."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `evaluation` and `blessing`.

        A baseline artifact that holds no release is left out: thresholds on change then do not
        apply, which the log, `evaluation` and the custom properties `baseline_version` (0) and
        `baseline_reason` of both outputs say.
        """
        version, reason = _baseline(input_dict.get("baseline_model", []))
        if not version:
            logging.warning("Thresholds on change are not checked: %s.", reason)
            input_dict = {k: v for k, v in input_dict.items() if k != "baseline_model"}
        gate = GateConfig.model_validate_json(exec_properties["gate"])
        image = json_utils.loads(exec_properties["image"])
        config = eval_config(
            gate, exec_properties["num_codes"], image, exec_properties["batch_size"]
        )
        hook = extractors.custom_extractors
        theirs = {
            "eval_config": to_json(config),
            "example_splits": exec_properties["example_splits"],
            hook.__name__: f"{hook.__module__}.{hook.__name__}",  # TFX takes a dotted path
        }
        super().Do(input_dict, output_dict, theirs)

        for artifact in (*output_dict["evaluation"], *output_dict["blessing"]):
            artifact.set_int_custom_property("baseline_version", version)
            artifact.set_string_custom_property("baseline_reason", reason)
        results.record_gate(
            artifact_utils.get_single_uri(output_dict["evaluation"]),
            gate,
            version,
            reason,
        )


def _baseline(artifacts: list[types.Artifact]) -> tuple[int, str]:
    """The version to compare with and, where that is 0 for none, the reason."""
    if not artifacts:
        return 0, "the pipeline has no baseline"
    info = baseline.read(artifact_utils.get_single_uri(artifacts))
    return info.version, info.reason
