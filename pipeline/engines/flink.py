"""A Flink cluster as its REST API shows it: version, slots, and the jobs of a name."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import requests

from components.errors import PipelineError

_ANSWER_SECONDS = 30.0
# That a job has to end after it was cancelled: its workers finish the element that they are at.
_CANCEL_SECONDS = 60.0
_POLL_SECONDS = 0.5
_ENDED = {"FINISHED", "CANCELED", "FAILED"}


class Slots(NamedTuple):
    """How many subtasks a cluster can run at once, and how many more it can now."""

    total: int
    free: int


class Flink:
    """The JobManager at an address, HOST:PORT or a URL."""

    def __init__(self, master: str) -> None:
        self.url = master if "://" in master else f"http://{master}"

    def version(self) -> str:
        """Such as 1.20.5."""
        return str(self._call("GET", "/v1/config")["flink-version"])

    def slots(self) -> Slots:
        """Of all TaskManagers that are there."""
        found = self._call("GET", "/v1/overview")
        return Slots(found["slots-total"], found["slots-available"])

    def jobs(self, name: str) -> list[str]:
        """Ids of the jobs of a name that have not ended."""
        found = self._call("GET", "/v1/jobs/overview")["jobs"]
        return [job["jid"] for job in found if job["name"] == name and job["state"] not in _ENDED]

    def cancel(self, name: str) -> int:
        """Cancels all jobs of a name, and waits until they have ended.

        Returns:
            how many there were.

        Raises:
            PipelineError: the cluster does not answer, or a job does not end.
        """
        asked: set[str] = set()
        deadline = time.monotonic() + _CANCEL_SECONDS
        looks = 0
        # A job that was being submitted may appear between two looks.
        while (running := self.jobs(name)) or looks < 2:
            looks = 0 if running else looks + 1
            for job in set(running) - asked:
                self._call("PATCH", f"/v1/jobs/{job}?mode=cancel", may_be_gone=True)
                asked.add(job)
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"{self.url}: job {running[0]} does not end; cancel it with Flink's own tools"
                )
            time.sleep(_POLL_SECONDS)
        return len(asked)

    def _call(self, method: str, path: str, may_be_gone: bool = False) -> dict[str, Any]:
        try:
            response = requests.request(method, self.url + path, timeout=_ANSWER_SECONDS)
        except requests.RequestException as error:
            raise PipelineError(
                f"beam.flink.master: no Flink answers at {self.url} ({_reason(error)}); start the "
                "cluster, or correct the address of its REST API"
            ) from error
        if may_be_gone and response.status_code in (404, 409):  # it has ended by itself
            return {}
        try:
            response.raise_for_status()
            answer = response.json()
        except (requests.HTTPError, ValueError) as error:
            raise PipelineError(
                f"beam.flink.master: {method} {self.url}{path} answers "
                f"{response.status_code} {response.reason}, which is not Flink's REST API"
            ) from error
        if not isinstance(answer, dict):
            raise PipelineError(f"beam.flink.master: {self.url} is not Flink's REST API")
        return answer


def _reason(error: requests.RequestException) -> str:
    """The deepest cause, without the layers of the HTTP library around it."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    return getattr(cause, "strerror", None) or type(cause).__name__
