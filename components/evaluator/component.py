"""ReconstructionEvaluator: measures the candidate beside the last release and blesses it or not.

It is TFX's Evaluator with a fixed set of metrics and a gate from the configuration.
"""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import json_utils

from components.evaluator import executor
from components.evaluator.gate import GateConfig
from components.kinds import AudioKind, ImageKind


class ReconstructionEvaluatorSpec(types.ComponentSpec):
    """Interface of `ReconstructionEvaluator`; inputs and outputs are those of TFX's Evaluator."""

    PARAMETERS = {
        "gate": component_spec.ExecutionParameter(type=str),
        "num_codes": component_spec.ExecutionParameter(type=int),
        "codebooks": component_spec.ExecutionParameter(type=int),
        "kind": component_spec.ExecutionParameter(type=str),
        "batch_size": component_spec.ExecutionParameter(type=int),
        "example_splits": component_spec.ExecutionParameter(type=str),
        "features_fingerprint": component_spec.ExecutionParameter(type=str),
        "phones_fingerprint": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class ReconstructionEvaluator(base_beam_component.BaseBeamComponent):
    """Measures the metrics of models/metrics.py on the held-out split, overall and per label, and
    Fréchet distances where the gate names a network for them. Of sound it also measures what is
    heard (`components.evaluator.heard`).

    Outputs `evaluation` (TFMA results, read with `components.evaluator.results.read`) and
    `blessing` (a `BLESSED` or `NOT_BLESSED` file and TFX's custom properties).
    """

    SPEC_CLASS = ReconstructionEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        gate: GateConfig,
        num_codes: int,
        kind: ImageKind | AudioKind,
        baseline_model: types.BaseChannel | None = None,
        codebooks: int = 1,
        batch_size: int = 256,
        example_splits: tuple[str, ...] = ("eval",),
        features_fingerprint: str = "",
        phones_fingerprint: str = "",
        code_version: str = "",
    ):
        """Makes the component.

        Args:
            examples: transformed Examples.
            model: the candidate, a SavedModel with the signature `evaluate`.
            gate: thresholds on the metrics of the whole split.
            num_codes: K, size of a codebook of the candidate.
            kind: what the data are.
            baseline_model: the last release as `components.baseline` hands it out; where it
                holds none, thresholds on change do not apply.
            codebooks: B, number of the candidate's codebooks.
            batch_size: images that a model is given at a time, which bounds the memory.
            example_splits: splits that are measured, together.
            features_fingerprint: changes with the network that `gate.features` names.
            phones_fingerprint: changes with the file that `gate.phones` names.
            code_version: changes when the code does, so that no stale result is reused.
        """
        super().__init__(
            spec=ReconstructionEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                gate=gate.model_dump_json(),
                num_codes=num_codes,
                codebooks=codebooks,
                kind=kind.model_dump_json(),
                batch_size=batch_size,
                example_splits=json_utils.dumps(list(example_splits)),
                features_fingerprint=features_fingerprint,
                phones_fingerprint=phones_fingerprint,
                code_version=code_version,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
