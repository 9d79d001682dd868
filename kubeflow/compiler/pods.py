"""Resources of the tasks and the platform document: what Kubernetes is told of their pods."""

from __future__ import annotations

from typing import Any

from pipeline.config.pods import PodSettings

Json = dict[str, Any]

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
# The first backend whose parser knows a field of the platform document; an older one fails the
# run on it. What is not named here is known to 2.14.
SINCE = {"securityContext": (2, 16)}


def resources(pod: PodSettings) -> Json:
    """The `resources` of a container in a PipelineSpec: requested is what is allowed.

    Amounts are there twice: as text for the backend, as numbers for its older versions.
    """
    cores, gigabytes = _cores(pod.cpu or "1"), _bytes(pod.memory or "4Gi") / 10**9
    found: Json = {
        "cpuLimit": cores,
        "cpuRequest": cores,
        "memoryLimit": gigabytes,
        "memoryRequest": gigabytes,
        "resourceCpuLimit": pod.cpu,
        "resourceCpuRequest": pod.cpu,
        "resourceMemoryLimit": pod.memory,
        "resourceMemoryRequest": pod.memory,
    }
    if pod.gpu_count:
        found["accelerator"] = {
            "type": pod.gpu_type,
            "count": str(pod.gpu_count),
            "resourceType": pod.gpu_type,
            "resourceCount": str(pod.gpu_count),
        }
    return found


def retry_policy(pod: PodSettings) -> Json:
    """The `retryPolicy` of a task: a minute's wait, then twice as long each time."""
    return {
        "maxRetryCount": pod.retries,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }


def platform(pod: PodSettings, backend: tuple[int, int]) -> Json:
    """A task's part of the platform document, a KubernetesExecutorConfig message.

    Args:
        pod: its settings.
        backend: version of Kubeflow Pipelines that is to read it.
    """
    found: Json = {
        "fieldPathAsEnv": [{"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
    }
    if pod.node_selector:
        found["nodeSelector"] = {"labels": dict(pod.node_selector)}
    if pod.tolerations:
        found["tolerations"] = [each.as_kubernetes() for each in pod.tolerations]
    if pod.volumes:
        found["pvcMount"] = [
            {
                "constant": each.claim,
                "mountPath": each.path,
                "pvcNameParameter": _constant(each.claim),
            }
            for each in pod.volumes
        ]
    if pod.shared_memory:
        # `enabledSharedMemory` is accepted and does nothing.
        found["emptyDirMounts"] = [
            {
                "volumeName": "shared-memory",
                "mountPath": "/dev/shm",
                "medium": "Memory",
                "sizeLimit": pod.shared_memory,
            }
        ]
    if pod.secret_env:
        found["secretAsEnv"] = [
            {
                "secretName": each.secret,
                "secretNameParameter": _constant(each.secret),
                "keyToEnv": [{"secretKey": each.key or variable, "envVar": variable}],
                "optional": each.optional,
            }
            for variable, each in pod.secret_env.items()
        ]
    if pod.timeout:
        found["activeDeadlineSeconds"] = str(pod.timeout)
    identity = {
        name: str(value)
        for name, value in (("runAsUser", pod.run_as_user), ("runAsGroup", pod.run_as_group))
        if value is not None
    }
    if backend >= SINCE["securityContext"]:
        found["securityContext"] = {**identity, "runAsNonRoot": True}
    return found


def _constant(value: str) -> Json:
    return {"runtimeValue": {"constant": value}}


def _cores(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(text: str) -> float:
    for suffix, factor in (_BINARY | _DECIMAL).items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
