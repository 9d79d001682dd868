"""Creates a job, follows it with its workers' logs, and removes it whatever happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from components.errors import PipelineError, said
from kubeflow.training_job.backends import BACKENDS
from kubeflow.training_job.cluster import PATIENCE, Cluster, Refused
from kubeflow.training_job.worker_logs import WorkerLogs

Json = dict[str, Any]
Echo = Callable[[str], None]

# Seconds.
_POLL = 5.0  # between two looks at a job
_LAST_PATIENCE = 20.0  # for an API that is away at the end; a pod that is stopped has 30
_START_PATIENCE = 900.0  # for an image or a container that does not start

_DONE = {"Complete": True, "Succeeded": True, "Failed": False}
_WAITING_BADLY = (
    "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError", "CrashLoopBackOff",
)  # fmt: skip


class Job:
    """One TrainJob or TFJob; an instance runs one.

    Args:
        backend: `trainjob` or `tfjob`.
        namespace: where; by default that of this pod.
        echo: takes the lines of the logs and what is noticed, one at a time.
        poll: seconds between two looks at the job; by default 5.

    Raises:
        PipelineError: this process is not in a pod of Kubernetes.
    """

    def __init__(
        self,
        backend: str,
        namespace: str | None = None,
        echo: Echo = print,
        poll: float | None = None,
    ):
        self._poll = poll or _POLL
        self._write, self._writing = echo, threading.Lock()
        self._said: set[str] = set()
        self._troubled: dict[str, float] = {}  # pod -> since when it does not start
        self._ours: bool | None = None  # whether the job of this name is; None: not known
        self._cluster = Cluster(backend, namespace, self._poll, self._echo_once)
        self._index_label = BACKENDS[backend].index_label
        self._logs = WorkerLogs(self._cluster, self._index, self._echo)

    def exists(self, name: str) -> bool:
        """Whether a job of this name is there to stay, of an earlier try of the same task."""
        there = self._cluster.get(name)
        return there is not None and "deletionTimestamp" not in there["metadata"]

    def run(self, manifest: Json, timeout: float | None = None) -> None:
        """Runs a job to its end and removes it, also when this process is told to end.

        A job of the same name and content, which an earlier try of this task has left, is
        followed instead of made again. If it has failed already, or goes with the pod of that try,
        which owns it, it is made again. A job with other contents is left alone.

        Args:
            manifest: what `manifest.build` returns.
            timeout: seconds that the job may take, with the wait for room in the cluster.

        Raises:
            PipelineError: the job failed, took too long, cannot start or may not be made.
        """
        name = manifest["metadata"]["name"]
        end = None if timeout is None else time.monotonic() + timeout
        with _Termination() as termination:
            try:
                try:
                    inherited = self._create(manifest)
                    while not self._follow(name, end, timeout):
                        if not inherited:
                            raise PipelineError(f"{self._named(name)} was deleted by somebody else")
                        self._echo(f"{self._named(name)} went with the earlier try that owned it")
                        inherited = self._create(manifest)
                finally:
                    termination.wait()
            finally:
                self._remove(manifest)

    def _create(self, manifest: Json) -> bool:
        """Makes the job; returns whether it was there already."""
        name = manifest["metadata"]["name"]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._ours = None
            try:
                self._cluster.create(manifest)
            except Refused as error:
                if error.status != 409:
                    # A request without an answer may still have made it.
                    self._ours = False if 400 <= error.status < 500 else None
                    raise
            else:
                self._ours = True
                self._echo(f"{self._named(name)} created")
                return False
            there = self._cluster.get(name)
            if there is not None and not _contains(there["spec"], manifest["spec"]):
                self._ours = False
                raise PipelineError(
                    f"{self._named(name)} exists with other contents; if nobody needs it: "
                    + self._by_hand(name)
                )
            if there is None or "deletionTimestamp" in there["metadata"]:
                time.sleep(self._poll)  # an earlier one on its way out
                continue
            self._ours = True
            ended = _ended(there)
            if ended is None or ended[0]:
                self._echo(f"following {self._named(name)}, which an earlier try has started")
                return True
            self._echo(f"{self._named(name)} of an earlier try failed ({ended[1]}); removing it")
            self._cluster.delete(name)
        raise PipelineError(
            f"{self._named(name)} of an earlier try is being deleted and does not go away; find "
            f"what holds it in metadata.finalizers: {self._by_hand(name, 'get')} -o yaml"
        )

    def _follow(self, name: str, end: float | None, timeout: float | None) -> bool:
        """Waits until the job has ended; returns False where it vanishes before."""
        while (job := self._cluster.get(name)) is not None:
            pods = self._cluster.pods(name)
            self._logs.follow(pods)
            waits = self._notice(job, pods)
            ended = _ended(job)
            if ended is not None:
                self._logs.finish(pods)
                succeeded, message = ended
                if not succeeded:
                    why = self._causes(pods) or message
                    raise PipelineError(f"{self._named(name)} failed: {why}")
                return True
            if end is not None and time.monotonic() > end:
                text = "; ".join([f"has not ended in {timeout:.0f} seconds", *waits])
                raise PipelineError(f"{self._named(name)} {text}")
            time.sleep(self._poll)
        return False

    def _notice(self, job: Json, pods: list[Any]) -> list[str]:
        """Says once what keeps workers from starting, and returns it.

        Raises:
            PipelineError: an image or a container has not started for a quarter of an hour.
        """
        now = time.monotonic()
        waits = [f"the job is suspended: {text}" for text in _suspended(job)]
        for pod in pods:
            for hopeless, trouble in _troubles(pod):
                waits.append(f"worker {self._index(pod)} waits: {trouble}")
                if not hopeless:
                    continue
                if now - self._troubled.setdefault(pod.metadata.uid, now) > _START_PATIENCE:
                    raise PipelineError(
                        f"worker {self._index(pod)} does not start: {trouble}; repair that, then "
                        "run the pipeline again"
                    )
        for line in waits:
            self._echo_once(line)
        return waits

    def _causes(self, pods: list[Any]) -> str:
        """How workers ended, the first of them first; empty where only the controller knows."""
        found = []
        for pod in pods:
            worker = f"worker {self._index(pod)}"
            if pod.status.phase == "Failed" and pod.status.reason:  # by its node, such as Evicted
                found.append(("", f"{worker}: {pod.status.reason}: {pod.status.message}"))
            for container in pod.status.container_statuses or []:
                ended = container.state and container.state.terminated
                if ended and ended.exit_code:
                    reason = ended.reason if ended.reason not in (None, "Error") else "error"
                    if reason == "OOMKilled":
                        reason += ": it needs more memory"
                    text = f"{worker} ended with {ended.exit_code} ({reason})"
                    if said := self._logs.last_lines(pod):
                        text += f": {said}"
                    found.append((str(ended.finished_at or ""), text))
        return "; ".join(text for _, text in sorted(found))

    def _remove(self, manifest: Json) -> None:
        """Removes the job if it is ours; if it cannot, says so: another error may be on its way."""
        name = manifest["metadata"]["name"]
        try:
            if self._ours is None:
                there = self._cluster.get(name, _LAST_PATIENCE)
                self._ours = there is not None and _contains(there["spec"], manifest["spec"])
            if self._ours:
                self._cluster.delete(name, _LAST_PATIENCE)
        except Exception as error:
            text = f"{self._named(name)} may be left: {said(error)}; {self._by_hand(name)}"
            self._echo(text)

    def _echo(self, line: str) -> None:
        with self._writing:  # every log has a thread
            self._write(line)

    def _echo_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._echo(line)

    def _named(self, name: str) -> str:
        return f"{self._cluster.kind} {name}"

    def _by_hand(self, name: str, verb: str = "delete") -> str:
        return f"kubectl {verb} {self._named(name)} --namespace {self._cluster.namespace}"

    def _index(self, pod: Any) -> str:
        known = {**(pod.metadata.annotations or {}), **(pod.metadata.labels or {})}
        return known.get(self._index_label, "?")


class _Termination:
    """SIGTERM ends this process by way of its `finally` clauses, and does not cut these short."""

    def __init__(self) -> None:
        self._told = self._waits = False

    def __enter__(self) -> _Termination:
        # Only the main thread gets signals.
        self._handles = threading.current_thread() is threading.main_thread()
        if self._handles:
            self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def wait(self) -> None:
        """From here on a signal ends the process when the context ends."""
        self._waits = True

    def _stop(self, number: int, frame: Any) -> None:
        told, self._told = self._told, True
        if not told and not self._waits:
            self._exit()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._handles:
            signal.signal(signal.SIGTERM, self._before)
        if self._told and not isinstance(error, SystemExit):
            self._exit()

    def _exit(self) -> None:
        raise SystemExit("stopped by SIGTERM; the workers are stopped too")


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


def _conditions(job: Json) -> Iterator[tuple[str, str]]:
    """Type and message of those that hold."""
    for each in job.get("status", {}).get("conditions", []):
        if each["status"] == "True":
            yield each["type"], each.get("message") or each.get("reason") or "no reason was given"


def _ended(job: Json) -> tuple[bool, str] | None:
    """Whether it succeeded, and what the controller says; None while it runs."""
    found = ((_DONE[kind], message) for kind, message in _conditions(job) if kind in _DONE)
    return next(found, None)


def _suspended(job: Json) -> Iterator[str]:
    return (message for kind, message in _conditions(job) if kind == "Suspended")


def _troubles(pod: Any) -> Iterator[tuple[bool, str]]:
    """What keeps a pod from starting, and whether it is of a kind that hardly mends itself."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            yield False, f"Unschedulable: {condition.message}"
    for container in pod.status.container_statuses or []:
        waiting = container.state and container.state.waiting
        if waiting and waiting.reason in _WAITING_BADLY:
            yield True, f"{waiting.reason}: {waiting.message or container.image}"
