"""Typed settings of the pods: the `kubeflow` section of a configuration."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from models.config import Section
from pipeline import component_ids

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?")
_CPU = re.compile(r"\d+(\.\d+)?|\d+m")
Port = Annotated[int, Field(gt=0, lt=65536)]


class Toleration(Section):
    """A taint that the pod tolerates; the fields are those of Kubernetes."""

    # Name of the taint. Default: any.
    key: str | None = None
    # Whether the taint must have `value`. Default Equal.
    operator: Literal["Equal", "Exists"] = "Equal"
    # The taint's value. Default none.
    value: str | None = None
    # Which effect of it is tolerated. Default: any.
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    # How long a NoExecute taint is tolerated. Seconds, default for ever.
    seconds: Annotated[int | None, Field(ge=0)] = None

    def as_kubernetes(self) -> dict[str, str | int]:
        """As it stands in a pod."""
        fields = {
            "key": self.key,
            "operator": self.operator,
            "value": self.value,
            "effect": self.effect,
            "tolerationSeconds": self.seconds,
        }
        return {name: value for name, value in fields.items() if value is not None}


class VolumeMount(Section):
    """A persistent volume claim and where it is mounted."""

    # Name of the claim.
    claim: str
    # Absolute path in the pod.
    path: Annotated[str, Field(pattern="^/")]


class SecretVariable(Section):
    """One environment variable from a key of a Kubernetes secret."""

    # Name of the secret.
    secret: str
    # Key in it. Default: the variable's name.
    key: str | None = None
    # Whether the pod may start without it. Default false.
    optional: bool = False


class PodSettings(Section):
    """What the pod of a component asks for. Unset: the value under `kubeflow.pods`."""

    # Cores, such as 2 or 500m; requested and allowed. Default for all: 1.
    cpu: str | None = None
    # Memory, such as 8Gi; requested and allowed. Default for all: 4Gi.
    memory: str | None = None
    # What the cluster calls its GPUs. Default nvidia.com/gpu.
    gpu_type: str | None = None
    # How many GPUs. Default 0.
    gpu_count: Annotated[int | None, Field(ge=0)] = None
    # Labels that the node must have, such as {cloud.google.com/gke-accelerator: nvidia-l4}.
    node_selector: dict[str, str] | None = None
    # Taints that are tolerated. Default none.
    tolerations: tuple[Toleration, ...] | None = None
    # Claims that are mounted. Default none.
    volumes: tuple[VolumeMount, ...] | None = None
    # Size of /dev/shm in memory, such as 2Gi. Default none: what the container runtime gives.
    shared_memory: str | None = None
    # Environment variable -> value; no credentials, for everybody reads the compiled file.
    env: dict[str, str] | None = None
    # Environment variable -> key of a secret.
    secret_env: dict[str, SecretVariable] | None = None
    # Times a failed pod is started again. Default 2.
    retries: Annotated[int | None, Field(ge=0, le=20)] = None
    # Longest a pod may run, all retries of it apart. Seconds, default none.
    timeout: Annotated[int | None, Field(gt=0)] = None
    # Numeric user, from backend 2.16 on. Default: the image's, 1000.
    run_as_user: Annotated[int | None, Field(gt=0)] = None
    # Numeric group, from backend 2.16 on. Default: the image's, 1000.
    run_as_group: Annotated[int | None, Field(gt=0)] = None

    @field_validator("cpu")
    @classmethod
    def _is_cpu(cls, value: str | None) -> str | None:
        if value is not None and not _CPU.fullmatch(value):
            raise ValueError("must be cores, such as 2 or 500m")
        return value

    @field_validator("memory", "shared_memory")
    @classmethod
    def _is_quantity(cls, value: str | None) -> str | None:
        if value is not None and not _QUANTITY.fullmatch(value):
            raise ValueError("must be a size, such as 8Gi or 512Mi")
        return value

    @field_validator("cpu", mode="before")
    @classmethod
    def _cores_may_be_a_number(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    def over(self, base: PodSettings) -> PodSettings:
        """These settings where they are set, else those of `base`."""
        own = {name: value for name, value in self if value is not None}
        return base.model_copy(update=own)


DEFAULTS = PodSettings(
    cpu="1", memory="4Gi", gpu_type="nvidia.com/gpu", gpu_count=0, node_selector={},
    tolerations=(), volumes=(), env={}, secret_env={}, retries=2,
)  # fmt: skip


class TrainingJobConfig(Section):
    """How several workers are started, where `training.workers` is above 1."""

    # `trainjob`: Kubeflow Trainer 2; `tfjob`: the older training operator. Default trainjob.
    backend: Literal["trainjob", "tfjob"] = "trainjob"
    # A path that all workers mount, or a URI of an object store: their data, and the model that
    # the first of them leaves. Required with several workers.
    staging: str | None = None
    # Port on which the workers speak to each other. Default 2222.
    port: Port = 2222
    # Name of the TrainingRuntime, which has the workers' volumes, node selector and tolerations
    # (kubeflow/manifests/training-runtime.yaml). Only of a TrainJob. Default vqvae-training.
    runtime: str = "vqvae-training"
    # Name of the workers' service account. Only of a TFJob. Default: the namespace's own.
    service_account: str | None = None


class KubeflowConfig(Section):
    """Pods of the pipeline on Kubeflow; a local run does not look at it."""

    # For all components.
    pods: PodSettings = PodSettings()
    # Component -> what differs, such as Trainer-vqvae: {gpu_count: 1, memory: 16Gi}.
    components: dict[str, PodSettings] = {}
    # A ReadWriteMany volume for the payloads of all artifacts, such as {claim: vqvae-work, path:
    # /mnt/vqvae/work}. Every task mounts it; Beam's workers on an engine must mount it at the same
    # path. Default none: Kubeflow's launcher copies artifacts to and from every pod.
    data_root: VolumeMount | None = None
    # The workers, where several train.
    training_job: TrainingJobConfig = TrainingJobConfig()

    @model_validator(mode="after")
    def _components_exist(self) -> KubeflowConfig:
        unknown = sorted(set(self.components) - set(component_ids.ALL))
        if unknown:
            raise ValueError(
                f"kubeflow.components: unknown component {unknown[0]!r}; known: "
                + ", ".join(component_ids.ALL)
            )
        return self

    def pod(self, component: str) -> PodSettings:
        """All settings of a component's pod."""
        return self.components.get(component, PodSettings()).over(self.pods.over(DEFAULTS))
