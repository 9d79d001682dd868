"""StageTrainer: TFX's Trainer of a stage, which may begin with the weights of the last release."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import Channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.trainer.config import TrainerSettings
from components.trainer.executor import BASELINE, Executor


class StageTrainerSpec(standard_component_specs.TrainerSpec):
    """Interface of `StageTrainer`: that of TFX's Trainer, and the last release."""

    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }


class StageTrainer(base_component.BaseComponent):
    """Runs the run function of a stage with settings that the pipeline made.

    Outputs `model` and `model_run` are those of TFX's Trainer.
    """

    SPEC_CLASS = StageTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        run_fn: str,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        settings: TrainerSettings,
        *,
        base_model: types.BaseChannel | None = None,
        baseline_model: types.BaseChannel | None = None,
    ) -> None:
        """Args:
        run_fn: dotted path of the run function.
        examples: with the splits `train` and `eval`.
        transform_graph: what Transform did to them.
        settings: of the stage; with the code's version, part of the cache key.
        base_model: the model of the stage before, if there is one.
        baseline_model: the last release as `components.baseline` hands it out, for a training that
            begins with its weights.
        """
        super().__init__(
            StageTrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                base_model=base_model,
                baseline_model=baseline_model,
                train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=settings.stage.steps),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                custom_config=json_utils.dumps({"settings": settings.model_dump_json()}),
                model=Channel(type=standard_artifacts.Model),
                model_run=Channel(type=standard_artifacts.ModelRun),
            )
        )
