"""Creates a job, follows it with its workers' logs, and removes it whatever happens."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.errors import PipelineError
from kubeflow.training_job.manifest import GROUPS, INDEX_LABELS, PLURALS, POD_LABELS

Json = dict[str, Any]
Echo = Callable[[str], None]

_POLL = 5.0  # seconds between two looks at a job
_MOST_ERRORS = 12  # looks in a row that may fail
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DONE = {"Complete": True, "Succeeded": True, "Failed": False}
_WAITING_BADLY = (
    "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError", "CrashLoopBackOff",
)  # fmt: skip


class Job:
    """One TrainJob or TFJob.

    Args:
        backend: `trainjob` or `tfjob`.
        namespace: where; by default that of this pod.
        echo: takes the lines of the logs and what is noticed.
    """

    def __init__(
        self, backend: str, namespace: str | None = None, echo: Echo = print, poll: float = _POLL
    ):
        from kubernetes import client, config

        with contextlib.suppress(config.ConfigException):
            config.load_incluster_config()
        self._namespace = namespace or _own_namespace()
        self._backend, self._echo, self._poll = backend, echo, poll
        group, version = GROUPS[backend]
        self._where = (group, version, self._namespace, PLURALS[backend])
        self._jobs, self._core = client.CustomObjectsApi(), client.CoreV1Api()
        self._followed: dict[str, threading.Thread] = {}
        self._noticed: set[str] = set()

    def exists(self, name: str) -> bool:
        """Whether a job of this name is there, of an earlier try of the same task."""
        return self._get(name) is not None

    def run(self, manifest: Json, timeout: float | None = None) -> None:
        """Runs a job to its end and removes it, also when this process is told to end.

        A job of the same name and content, which an earlier try of this task has left, is
        followed instead of made again.

        Raises:
            PipelineError: the job failed, took too long, or may not be made.
        """
        name = manifest["metadata"]["name"]
        with _terminated_as_exception():
            try:
                self._create(manifest)
                self._follow(name, timeout)
            finally:
                self._delete(name)

    def _create(self, manifest: Json) -> None:
        from kubernetes.client.exceptions import ApiException

        name = manifest["metadata"]["name"]
        for _ in range(_MOST_ERRORS):
            try:
                self._jobs.create_namespaced_custom_object(*self._where, manifest)
            except ApiException as error:
                if error.status != 409:
                    raise PipelineError(self._explained(error, "create", name)) from None
                there = self._get(name)
                if there is None or there["metadata"].get("deletionTimestamp"):
                    time.sleep(self._poll)  # an earlier one on its way out
                    continue
                if not _contains(there["spec"], manifest["spec"]):
                    raise PipelineError(
                        f"{self._kind} {name} exists with other contents; if nobody needs it: "
                        f"kubectl delete {self._kind} {name} --namespace {self._namespace}"
                    ) from None
                self._echo(f"following {self._kind} {name}, which an earlier try has started")
                return
            self._echo(f"{self._kind} {name} created")
            return
        raise PipelineError(f"{self._kind} {name} is being deleted and does not go away")

    def _follow(self, name: str, timeout: float | None) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        errors = 0
        while True:
            try:
                job = self._get(name)
                pods = self._pods(name)
                errors = 0
            except PipelineError:
                errors += 1
                if errors > _MOST_ERRORS:
                    raise
                time.sleep(self._poll)
                continue
            if job is None:
                raise PipelineError(f"{self._kind} {name} was deleted by somebody else")
            self._follow_logs(pods)
            self._notice(pods)
            ended = _ended(job)
            if ended is not None:
                for thread in self._followed.values():
                    thread.join(timeout=30)
                succeeded, message = ended
                if not succeeded:
                    why = _causes(pods, self._index) or message
                    raise PipelineError(f"{self._kind} {name} failed: {why}")
                return
            if end is not None and time.monotonic() > end:
                raise PipelineError(f"{self._kind} {name} has not ended in {timeout:.0f} seconds")
            time.sleep(self._poll)

    def _follow_logs(self, pods: list[Any]) -> None:
        for pod in pods:
            if pod.metadata.name in self._followed or pod.status.phase in (None, "Pending"):
                continue
            thread = threading.Thread(
                target=self._stream, args=(pod.metadata.name, self._index(pod)), daemon=True
            )
            self._followed[pod.metadata.name] = thread
            thread.start()

    def _stream(self, pod: str, index: str) -> None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        prefix = "" if index == "0" else f"[worker {index}] "
        try:
            response = self._core.read_namespaced_pod_log(
                pod, self._namespace, follow=True, _preload_content=False
            )
            rest = b""
            for chunk in response.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._echo(prefix + line.decode(errors="replace"))
            if rest:
                self._echo(prefix + rest.decode(errors="replace"))
        except (ApiException, HTTPError) as error:
            self._echo(f"{prefix}the log of {pod} is cut off here ({type(error).__name__})")

    def _notice(self, pods: list[Any]) -> None:
        """Says once what keeps a worker from starting."""
        for pod in pods:
            for trouble in _troubles(pod):
                line = f"worker {self._index(pod)} waits: {trouble}"
                if line not in self._noticed:
                    self._noticed.add(line)
                    self._echo(line)

    def _get(self, name: str) -> Json | None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._jobs.get_namespaced_custom_object(*self._where, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise PipelineError(self._explained(error, "get", name)) from None
        except HTTPError as error:
            raise PipelineError(_silent(error)) from None

    def _pods(self, name: str) -> list[Any]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            selector = f"{POD_LABELS[self._backend]}={name}"
            return self._core.list_namespaced_pod(self._namespace, label_selector=selector).items
        except ApiException as error:
            raise PipelineError(self._explained(error, "list the pods of", name)) from None
        except HTTPError as error:
            raise PipelineError(_silent(error)) from None

    def _delete(self, name: str) -> None:
        from kubernetes.client.exceptions import ApiException

        try:
            self._jobs.delete_namespaced_custom_object(
                *self._where, name, propagation_policy="Foreground"
            )
        except ApiException as error:
            if error.status not in (403, 404):  # what may not be made may not be deleted either
                self._echo(f"{self._kind} {name} could not be deleted ({error.status})")
        except Exception as error:  # the first error is the one to tell
            self._echo(f"{self._kind} {name} could not be deleted ({type(error).__name__})")

    @property
    def _kind(self) -> str:
        return "TrainJob" if self._backend == "trainjob" else "TFJob"

    def _index(self, pod: Any) -> str:
        label = INDEX_LABELS[self._backend]
        known = {**(pod.metadata.annotations or {}), **(pod.metadata.labels or {})}
        return known.get(label, "?")

    def _explained(self, error: Any, verb: str, name: str) -> str:
        if error.status == 403:
            return (
                f"this pod's service account may not {verb} {self._kind} {name} in namespace "
                f"{self._namespace}; apply kubeflow/manifests/training-rbac.yaml"
            )
        if error.status == 404:
            return (
                f"no {self._kind} in this cluster; install Kubeflow Trainer, or choose the other "
                "kubeflow.training_job.backend"
            )
        body = " ".join((error.body or error.reason or "").split())[:300]
        return f"Kubernetes does not {verb} {self._kind} {name} ({error.status}): {body}"


def _silent(error: Exception) -> str:
    return f"Kubernetes' API does not answer ({type(error).__name__})"


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return "kubeflow"


def _contains(there: Any, wanted: Any) -> bool:
    """Whether an object of the cluster, with defaults filled in, is what was asked for."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            key in there and _contains(there[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(map(_contains, there, wanted))
        )
    return there == wanted


def _ended(job: Json) -> tuple[bool, str] | None:
    """Whether it succeeded, and what the controller says; None while it runs."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in _DONE and condition["status"] == "True":
            message = condition.get("message") or condition.get("reason") or "no reason was given"
            return _DONE[condition["type"]], message
    return None


def _troubles(pod: Any) -> Iterator[str]:
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            yield f"Unschedulable: {condition.message}"
    for container in pod.status.container_statuses or []:
        waiting = container.state and container.state.waiting
        if waiting and waiting.reason in _WAITING_BADLY:
            yield f"{waiting.reason}: {waiting.message or container.image}"


def _causes(pods: list[Any], index: Callable[[Any], str]) -> str:
    """How workers ended, where that says more than the controller does."""
    found = []
    for pod in pods:
        for container in pod.status.container_statuses or []:
            ended = container.state and container.state.terminated
            if ended and ended.exit_code:
                reason = ended.reason if ended.reason not in (None, "Error") else "error"
                found.append(f"worker {index(pod)} ended with {ended.exit_code} ({reason})")
    return "; ".join(sorted(found))


@contextlib.contextmanager
def _terminated_as_exception() -> Iterator[None]:
    """SIGTERM ends this process by way of its `finally` clauses."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit("stopped by SIGTERM; the workers are stopped too")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
