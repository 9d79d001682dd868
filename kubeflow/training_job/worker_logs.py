"""The workers' logs as one, each line once, also where connections are cut."""

from __future__ import annotations

import collections
import dataclasses
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from kubeflow.training_job.cluster import ROLE, Cluster

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-][\d:]+)")
_LAST_WAIT = 30.0  # seconds for the logs of a job that has ended


@dataclasses.dataclass
class _Log:
    """How far a pod's log has been shown."""

    thread: threading.Thread | None = None
    whole: bool = False
    time: str = ""  # of the last line
    end: collections.deque[str] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=3)
    )


class WorkerLogs:
    """Logs of a job's pods. The first worker's lines are as they are, the others' say whose.

    Args:
        cluster: where the job is.
        index: which worker a pod is.
        echo: takes a line; called from one thread per pod.
    """

    def __init__(self, cluster: Cluster, index: Callable[[Any], str], echo: Callable[[str], None]):
        self._cluster, self._index, self._echo = cluster, index, echo
        self._logs: dict[str, _Log] = collections.defaultdict(_Log)

    def follow(self, pods: list[Any]) -> None:
        """Goes on with every log that is not being read and not whole."""
        for pod in pods:
            log = self._logs[pod.metadata.uid]
            if log.whole or pod.status.phase in (None, "Pending"):
                continue
            if log.thread is None or not log.thread.is_alive():
                log.thread = threading.Thread(target=self._read, args=(pod, log), daemon=True)
                log.thread.start()

    def finish(self, pods: list[Any]) -> None:
        """Waits for the ends of the logs of pods that have ended."""
        end = time.monotonic() + _LAST_WAIT
        for _ in range(2):  # once more for a connection that was cut meanwhile
            self.follow(pods)
            for log in list(self._logs.values()):
                if log.thread:
                    log.thread.join(timeout=max(0.0, end - time.monotonic()))

    def last_lines(self, pod: Any) -> str:
        """The last three that are not empty, as one."""
        return " | ".join(self._logs[pod.metadata.uid].end)

    def _read(self, pod: Any, log: _Log) -> None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        ended = pod.status.phase in ("Succeeded", "Failed")
        index = self._index(pod)
        prefix = "" if index == "0" else f"[worker {index}] "
        shown, rest = log.time, b""
        try:
            for chunk in self._cluster.log(pod.metadata.name).stream():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._show(line, prefix, shown, log)
        except ApiException as error:
            if error.status == 403:
                self._echo(f"{prefix}the log of {pod.metadata.name} cannot be shown without {ROLE}")
            log.whole = error.status in (403, 404)
            return
        except HTTPError:
            return  # half a line is not shown: it comes whole when the log is read again
        if rest:
            self._show(rest, prefix, shown, log)
        log.whole = ended

    def _show(self, raw: bytes, prefix: str, shown: str, log: _Log) -> None:
        line = raw.decode(errors="replace")
        stamp, _, text = line.partition(" ")
        if not _TIME.fullmatch(stamp):
            stamp, text = log.time, line  # the kubelet's own words
        elif stamp <= shown:
            return
        log.time = stamp
        if text.strip():
            log.end.append(" ".join(text.split())[:200])
        self._echo(prefix + text)
