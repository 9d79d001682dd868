"""One run of a compiled pipeline: created, followed, and its outcome told."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from components.errors import PipelineError
from kubeflow import package as packages
from kubeflow.client import Connection
from kubeflow.package import Package
from kubeflow.verdict import Verdict, find_verdict

if TYPE_CHECKING:
    import kfp

DONE = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
_POLL = 5.0  # seconds between two looks at a run
_LOG_LINES = 20
# Tasks of the backend itself, which a person need not see.
_EXECUTOR = "executor"
_PLUMBING = ("root", _EXECUTOR)
_PUSHER = "Pusher"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        state: SUCCEEDED, FAILED, SKIPPED or CANCELED.
        verdict: what the Pusher said; None where it did not come to it.
        failed: task -> the end of its log, or why there is none.
    """

    state: str
    verdict: Verdict | None
    failed: dict[str, str]


Observer = Callable[[dict[str, str]], None]


def create_run(
    client: kfp.Client,
    connection: Connection,
    package: Package,
    experiment: str,
    name: str,
    parameters: dict[str, Any],
    pipeline_root: str,
    service_account: str | None = None,
) -> str:
    """Uploads the pipeline if need be and starts a run of it; returns the run's id.

    Raises:
        PipelineError: the API refuses it.
    """
    pipeline_id, version_id, _ = packages.upload(client, connection, package)
    experiment_id = find_experiment(client, connection, experiment)
    with connection.errors():  # not again: a run that was made all the same would be made twice
        run = packages.quietly(
            client.run_pipeline,
            experiment_id,
            name,
            params=parameters,
            pipeline_id=pipeline_id,
            version_id=version_id,
            pipeline_root=pipeline_root,
            service_account=service_account,
        )
    return run.run_id


def find_experiment(client: kfp.Client, connection: Connection, name: str) -> str:
    """The id of an experiment, which is made where there is none of that name."""
    return connection.patiently(
        lambda: packages.quietly(client.create_experiment, name, namespace=connection.namespace)
    ).experiment_id


def follow(
    client: kfp.Client,
    connection: Connection,
    run_id: str,
    observe: Observer,
    timeout: float | None = None,
    poll: float = _POLL,
) -> Outcome:
    """Waits for the end of a run.

    Args:
        observe: called with task -> state at every look.
        timeout: longest wait in seconds; the run goes on after it.
        poll: seconds between two looks.

    Raises:
        PipelineError: the time is over, or the API cannot be asked any more.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        run = connection.patiently(lambda: client.get_run(run_id))
        observe(task_states(run))
        if run.state in DONE:
            return _outcome(client, connection, run)
        if end is not None and time.monotonic() > end:
            raise PipelineError(
                f"run {run_id} has not ended within {timeout:.0f} seconds; it goes on; "
                "Kubeflow's page shows it"
            )
        time.sleep(poll)


def task_states(run: Any) -> dict[str, str]:
    """Task -> state, of the tasks of the pipeline."""
    return {
        task.display_name: task.state or "PENDING"
        for task in _tasks(run)
        if task.display_name
        and not task.display_name.startswith(_PLUMBING)
        and not task.display_name.endswith("-driver")
        and task.display_name != (run.display_name or "")
    }


def _tasks(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _outcome(client: kfp.Client, connection: Connection, run: Any) -> Outcome:
    states = task_states(run)
    if run.state != "SUCCEEDED":
        failed = [name for name, state in states.items() if state == "FAILED"]
        return Outcome(run.state, None, {name: _end(client, run, name) for name in failed})
    verdict = find_verdict(connection.patiently(lambda: _log(client, run, _PUSHER)))
    return Outcome(run.state, verdict, {})


def _end(client: kfp.Client, run: Any, task: str) -> str:
    """The last lines of a task's log."""
    try:
        lines = _log(client, run, task).rstrip().splitlines()
    except Exception as error:
        return f"its log cannot be had ({type(error).__name__})"
    return "\n".join(lines[-_LOG_LINES:]) or "its log is empty; see the task in Kubeflow's page"


def _log(client: kfp.Client, run: Any, task: str) -> str:
    """What a task's pod printed, from the API server, which reads it from pod or archive."""
    nodes = _nodes(run, task)
    if not nodes:
        return ""
    path = f"/apis/v1alpha1/runs/{run.run_id}/nodes/{nodes[-1]}/log"
    return client._run_api.api_client.call_api(
        path, "GET", response_type="str", auth_settings=["Bearer"], _return_http_data_only=True
    )


def _nodes(run: Any, task: str) -> list[str]:
    """The nodes of a task that have a pod with its log, the latest try last.

    A task of the pipeline is a graph of its own to the backend. Its pod is the child `executor`,
    or, where it is tried again, `executor(0)`, `executor(1)`, … below that. Other children of
    these are what comes next in the pipeline.
    """
    details = {detail.pod_name: detail for detail in _tasks(run)}
    leaves: list[str] = []

    def descend(detail: Any) -> None:
        children = [details.get(child.pod_name) for child in detail.child_tasks or []]
        tries = [each for each in children if each and each.display_name.startswith(_EXECUTOR)]
        for child in sorted(tries, key=lambda each: each.display_name):
            descend(child)
        if not tries:
            leaves.append(detail.pod_name)

    for detail in _tasks(run):
        if detail.display_name == task:
            descend(detail)
    return leaves
