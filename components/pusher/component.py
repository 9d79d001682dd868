"""Component that releases a blessed candidate: encode, decode and sample as one version."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.pusher.executor import Executor
from components.release_store.rollout import Rollout


class ReleasePusherSpec(component_spec.ComponentSpec):
    """Interface of `ReleasePusher`."""

    PARAMETERS = {
        "serving_path": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "run_key": component_spec.ExecutionParameter(type=str),
        "push_id": component_spec.ExecutionParameter(type=str),
        "rollout": component_spec.ExecutionParameter(type=str),
        "baseline_version": component_spec.ExecutionParameter(type=int),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class ReleasePusher(base_component.BaseComponent):
    """Publishes a blessed candidate to the release store; leaves the store alone otherwise.

    Outputs:
        pushed_model: PushedModel with TFX's custom properties `pushed` (0 or 1),
            `pushed_destination` (the store) and `pushed_version`; `release.json` in its folder
            is a copy of the manifest.
    """

    SPEC_CLASS = ReleasePusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        evaluation: BaseChannel,
        examples: BaseChannel,
        serving_path: str,
        config: str,
        push_id: str,
        baseline_model: BaseChannel | None = None,
        rollout: Rollout = "stable",
        run_key: str = "",
        baseline_version: int = 0,
        code_version: str = "",
    ):
        """Args:
        model: Model of the prior's Trainer: `release/` and the combined SavedModel.
        model_blessing: the gate's verdict.
        evaluation: what the gate measured; its metrics go into the manifest.
        examples: Examples that the run read, for their fingerprint and span.
        serving_path: folder of the release store.
        config: the run's configuration as JSON, for the manifest.
        push_id: names this push. A push that was released before is not released again.
        baseline_model: what the candidate was compared with, from `Baseline`.
        rollout: whether a release becomes the stable one at once or the canary beside it.
        run_key: hash of all that the run depends on, by which a repetition is recognised.
        baseline_version: what `Baseline` was asked for (`components.release_store.store.plan`).
        code_version: hash of our code, for the manifest and the cache key.
        """
        super().__init__(
            spec=ReleasePusherSpec(
                model=model,
                model_blessing=model_blessing,
                evaluation=evaluation,
                examples=examples,
                baseline_model=baseline_model,
                serving_path=serving_path,
                config=config,
                run_key=run_key,
                push_id=push_id,
                rollout=rollout,
                baseline_version=baseline_version,
                code_version=code_version,
                pushed_model=Channel(type=standard_artifacts.PushedModel),
            )
        )
