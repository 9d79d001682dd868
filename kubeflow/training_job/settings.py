"""What a Trainer task is told of the workers that it starts; an argument of its container."""

from __future__ import annotations

from models.config import Positive, Section
from pipeline import component_ids
from pipeline.config.config import Config, ConfigError
from pipeline.config.pods import PodSettings, TrainingJobConfig

# What a TrainJob takes from its TrainingRuntime only.
_OF_THE_RUNTIME = ("node_selector", "tolerations", "volumes", "shared_memory")


class StagedTrainingJob(TrainingJobConfig):
    """How the workers are started, with the staging place that they need."""

    staging: str


class TrainingJobSettings(Section):
    """Workers of one training.

    Attributes:
        image: container image of the workers.
        workers: how many.
        job: back end, staging place, port, service account, runtime.
        pod: of each worker.
    """

    image: str
    workers: Positive
    job: StagedTrainingJob
    pod: PodSettings


def for_component(config: Config, component: str, image: str) -> TrainingJobSettings | None:
    """The workers of a Trainer; None where it trains alone.

    Raises:
        ConfigError: settings that the workers could not be given.
    """
    if config.training.workers == 1 or component not in component_ids.TRAINERS.values():
        return None
    job = config.kubeflow.training_job
    if job.staging is None:
        raise ConfigError(
            f"training.workers is {config.training.workers}: set kubeflow.training_job.staging to "
            "a path on a volume that all workers mount, or to a URI of an object store"
        )
    own = config.kubeflow.components.get(component, PodSettings())
    if job.backend == "trainjob":
        for name in _OF_THE_RUNTIME:
            if getattr(own, name) is not None:
                raise ConfigError(
                    f"kubeflow.components.{component}.{name}: with several workers set it in the "
                    f"TrainingRuntime {job.runtime} (kubeflow/manifests/training-runtime.yaml); a "
                    "TrainJob cannot carry it"
                )
    return TrainingJobSettings(
        image=image,
        workers=config.training.workers,
        job=StagedTrainingJob(**job.model_dump()),
        pod=config.kubeflow.pod(component),
    )
