"""The Kubernetes objects that start workers: a TrainJob of Kubeflow Trainer 2, or a TFJob.

A TrainJob names a TrainingRuntime, which is installed once with the pods' volumes and security
(kubeflow/manifests/training-runtime.yaml), and says what differs: image, command, environment,
resources, number of workers. Its field for more than that is renamed in every minor version, so it
is not used. A TFJob holds the whole pod.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from kubeflow.training_job.backends import BACKENDS
from kubeflow.training_job.settings import TrainingJobSettings
from pipeline.config.pods import PodSettings

Json = dict[str, Any]

# Of a TFJob's pods; those of a TrainJob have them by the TrainingRuntime. Without them no network
# policy knows the pods, and a sidecar of Istio's, as profiles have it, keeps a job from ending.
_OWN_LABELS = {
    "app.kubernetes.io/component": "training",
    "sidecar.istio.io/inject": "false",
}
HOSTS_VARIABLE = "VQVAE_WORKER_HOSTS"
_LONGEST_NAME = 40  # pods add `-node-0-<index>` and more of their own; 63 is the limit


def job_name(component: str, run_id: str) -> str:
    """Name of a run's job: the same for every try of its task, so that one finds the other's."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:10]
    return f"vqvae-{component.lower()}"[: _LONGEST_NAME - 11].rstrip("-") + f"-{digest}"


def build(settings: TrainingJobSettings, name: str, command: list[str]) -> Json:
    """The object for the API.

    Args:
        settings: of the workers.
        name: of the job (`job_name`).
        command: that each worker runs.
    """
    backend = BACKENDS[settings.job.backend]
    metadata: Json = {"name": name, "labels": {"app.kubernetes.io/part-of": "vqvae-pipeline"}}
    pod, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if pod and uid:
        # Kubernetes removes the job with the pod of the task, if that is the only way it ends.
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        metadata["ownerReferences"] = [owner]
    if settings.job.backend == "tfjob":
        spec = _tf_job(settings, command)
    else:
        spec = _train_job(settings, name, command)
    return {
        "apiVersion": backend.api_version,
        "kind": backend.kind,
        "metadata": metadata,
        "spec": spec,
    }


def _train_job(settings: TrainingJobSettings, name: str, command: list[str]) -> Json:
    # Every worker has a name of its own in the JobSet's headless service.
    hosts = ",".join(
        f"{name}-node-0-{index}.{name}:{settings.job.port}" for index in range(settings.workers)
    )
    return {
        "runtimeRef": {
            "apiGroup": BACKENDS["trainjob"].group,
            "kind": "TrainingRuntime",
            "name": settings.job.runtime,
        },
        "trainer": {
            "image": settings.image,
            "command": command,
            "env": [{"name": HOSTS_VARIABLE, "value": hosts}, *_environment(settings.pod)],
            "numNodes": settings.workers,
            "resourcesPerNode": _resources(settings.pod),
        },
    }


def _tf_job(settings: TrainingJobSettings, command: list[str]) -> Json:
    pod = settings.pod
    volumes: list[Json] = [
        {"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": volume.claim}}
        for index, volume in enumerate(pod.volumes or ())
    ]
    mounts: list[Json] = [
        {"name": f"claim-{index}", "mountPath": volume.path}
        for index, volume in enumerate(pod.volumes or ())
    ]
    for name, path, size in (("tmp", "/tmp", None), ("home", "/home/vqvae", None)):
        volumes.append({"name": name, "emptyDir": {"sizeLimit": size} if size else {}})
        mounts.append({"name": name, "mountPath": path})
    if pod.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": pod.shared_memory}
        volumes.append({"name": "shared-memory", "emptyDir": memory})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    container = {
        "name": BACKENDS["tfjob"].container,
        "image": settings.image,
        "command": command,
        "env": _environment(pod),
        "ports": [{"name": "tfjob-port", "containerPort": settings.job.port}],
        "resources": _resources(pod),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    user = pod.run_as_user or 1000
    spec: Json = {
        "containers": [container],
        "volumes": volumes,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": pod.run_as_group or user,
            "fsGroup": pod.run_as_group or user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if pod.node_selector:
        spec["nodeSelector"] = dict(pod.node_selector)
    if pod.tolerations:
        spec["tolerations"] = [each.as_kubernetes() for each in pod.tolerations]
    if settings.job.service_account:
        spec["serviceAccountName"] = settings.job.service_account
    return {
        "runPolicy": {"cleanPodPolicy": "None"},
        "tfReplicaSpecs": {
            "Worker": {
                "replicas": settings.workers,
                "restartPolicy": "Never",
                "template": {"metadata": {"labels": _OWN_LABELS}, "spec": spec},
            }
        },
    }


def _environment(pod: PodSettings) -> list[Json]:
    found: list[Json] = [{"name": name, "value": value} for name, value in (pod.env or {}).items()]
    for name, secret in (pod.secret_env or {}).items():
        reference = {
            "name": secret.secret,
            "key": secret.key or name,
            "optional": secret.optional,
        }
        found.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return found


def _resources(pod: PodSettings) -> Json:
    amounts = {"cpu": pod.cpu, "memory": pod.memory}
    if pod.gpu_count:
        assert pod.gpu_type is not None  # the defaults name one
        amounts[pod.gpu_type] = str(pod.gpu_count)
    return {"requests": amounts, "limits": amounts}
