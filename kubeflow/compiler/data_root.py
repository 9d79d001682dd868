"""Where tasks keep the payloads of their artifacts, if not in the artifacts' own folders."""

from __future__ import annotations

from pipeline.config.config import Config, ConfigError
from pipeline.config.pods import PodSettings, VolumeMount


def is_remote(config: Config) -> bool:
    """Whether Beam's work is done by workers that do not see what is in a task's pod."""
    return config.beam.runner != "direct"


def check(config: Config) -> None:
    """Refuses workers that could read and write no artifact.

    Raises:
        ConfigError: Beam's work is done elsewhere, and there is no data root; or its claim is
            mounted twice.
    """
    root = config.kubeflow.data_root
    if root is None:
        if is_remote(config):
            raise ConfigError(
                "beam: workers of another machine do not see the artifacts in a task's pod; set "
                "kubeflow.data_root to {claim, path}, a ReadWriteMany volume that they mount at "
                "the same path, or run Beam in the pods (beam.runner: direct)"
            )
        return
    for name, pod in {"pods": config.kubeflow.pods, **config.kubeflow.components}.items():
        for volume in pod.volumes or ():
            if volume != root and (volume.claim == root.claim or volume.path == root.path):
                raise ConfigError(
                    f"kubeflow.data_root mounts {root.claim} at {root.path}, but the volumes of "
                    f"{name} mount {volume.claim} at {volume.path}; a claim is mounted once, "
                    "at one path"
                )


def mounted(pod: PodSettings, root: VolumeMount) -> PodSettings:
    """The settings of a pod that has the data root."""
    volumes = pod.volumes or ()
    return pod if root in volumes else pod.model_copy(update={"volumes": (*volumes, root)})
