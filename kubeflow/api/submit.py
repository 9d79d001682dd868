"""One run of a compiled pipeline: created, followed, and its outcome told."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from components.errors import PipelineError, one_line
from kubeflow.api import package as packages
from kubeflow.api.client import Connection
from kubeflow.api.package import Package
from kubeflow.container.verdict import Verdict, find_verdict
from pipeline.component_ids import PUSHER

if TYPE_CHECKING:
    import kfp

Json = dict[str, Any]

DONE = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
_POLL = 5.0  # seconds between two looks at a run
_LOG_LINES = 20
_LOG_BYTES = 64 * 1024  # of the end of a log
# Below a task, the node of its pod; and what the backend itself runs.
_EXECUTOR = "executor"
_PLUMBING = ("root", _EXECUTOR)
_DRIVER = "-driver"
_TRY = re.compile(r"\((\d+)\)$")  # the end of a name where a task may be tried again


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        state: SUCCEEDED, FAILED, SKIPPED or CANCELED.
        verdict: what the Pusher said; None where the run did not come that far.
        failed: task -> why, and the end of its log.
    """

    state: str
    verdict: Verdict | None
    failed: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod of a run: where it is, its phase, and what Argo says of it (`OOMKilled`, say)."""

    namespace: str
    name: str
    phase: str
    message: str


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
) -> Outcome:
    """Waits for the end of a run.

    Args:
        observe: called with task -> state at every look.
        timeout: longest wait in seconds; the run goes on after it.

    Raises:
        PipelineError: the time is over, the API cannot be asked any more, or the run succeeded
            and its verdict cannot be had.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        run = connection.patiently(lambda: client.get_run(run_id))
        observe(task_states(run))
        if run.state in DONE:
            return _outcome(client, connection, run)
        if end is not None and time.monotonic() > end:
            raise PipelineError(
                f"run {run_id} has not ended within {timeout:g} seconds; it goes on; "
                + how_to_watch(connection, run_id)
            )
        time.sleep(_POLL)


def how_to_watch(connection: Connection, run_id: str) -> str:
    """What to do for a person who wants to see a run again."""
    endpoint = f"--endpoint {connection.host} " if connection.host else ""
    return f"see it in Kubeflow's page, or with: kfp {endpoint}run get {run_id}"


def task_states(run: Any) -> dict[str, str]:
    """Task -> state, of the tasks of the pipeline that were begun, in the order of their start."""
    details = _tasks(run)
    # The API calls the nodes of Argo's workflow tasks, and does not tell their kinds.
    workflows = {
        (child.pod_name or "").rpartition("-")[0]
        for detail in details
        for child in detail.child_tasks or []
    }
    states = {}
    for detail in sorted(details, key=lambda each: str(each.start_time or "")):
        name = _TRY.sub("", detail.display_name or "")
        if (
            name
            and name not in _PLUMBING
            and name not in workflows
            and not name.endswith(_DRIVER)
            and detail.state not in (None, "RUNTIME_STATE_UNSPECIFIED")
        ):
            states[name] = detail.state
    return states


def _tasks(run: Any) -> list[Any]:
    return (run.run_details and run.run_details.task_details) or []


def _outcome(client: kfp.Client, connection: Connection, run: Any) -> Outcome:
    succeeded = run.state == "SUCCEEDED"
    verdict, reason = None, ""
    if succeeded or task_states(run).get(PUSHER) == "SUCCEEDED":
        verdict, reason = _verdict(client, connection, run)
    if not succeeded:
        return Outcome(run.state, verdict, _failures(client, connection, run))
    if verdict is None:
        raise PipelineError(
            f"run {run.run_id} succeeded, but what came of it is not known, since the {PUSHER}'s "
            f"log, which says it, cannot be had: {reason}; see the output of {PUSHER} in "
            "Kubeflow's page, or `releases/latest.json` of the release store"
        )
    return Outcome(run.state, verdict, {})


def _verdict(client: kfp.Client, connection: Connection, run: Any) -> tuple[Verdict | None, str]:
    """What the Pusher said, or why that is not known."""
    log = ""
    try:
        workflow = _workflow(client, connection, run.run_id)
        pod = pods(workflow).get(PUSHER)
        reason = f"the run has no pod of {PUSHER}"
        if pod:
            log = _log(client, connection, run.run_id, pod)
            reason = "its log does not end with it"
    except PipelineError as error:
        reason = one_line(error)
    return find_verdict(log), reason


def _failures(client: kfp.Client, connection: Connection, run: Any) -> dict[str, str]:
    try:
        workflow = _workflow(client, connection, run.run_id)
    except PipelineError as error:
        no_log = f"its log cannot be had: {one_line(error)}"
        return {task: no_log for task, state in task_states(run).items() if state == "FAILED"}
    failed = {}
    for task, pod in pods(workflow).items():
        if pod.phase in ("Failed", "Error"):
            failed[task] = "\n".join(
                filter(None, (pod.message, _end(client, connection, run, pod)))
            )
    message = workflow["status"].get("message")
    return failed or ({"the run": message} if message else {})


def _end(client: kfp.Client, connection: Connection, run: Any, pod: Pod) -> str:
    """The last lines of a task's log."""
    try:
        lines = _log(client, connection, run.run_id, pod).splitlines()
    except PipelineError as error:
        return f"its log cannot be had: {one_line(error)}"
    return "\n".join(lines[-_LOG_LINES:]).rstrip() or "its log is empty"


def _workflow(client: kfp.Client, connection: Connection, run_id: str) -> Json:
    """The run as Argo keeps it, which alone tells what pods there are.

    The task details of the v2beta1 API leave `pod_name` empty, and their children are Argo's
    nodes, not pods.
    """
    answer = connection.patiently(lambda: _get(client, f"/apis/v1beta1/runs/{run_id}").data)
    try:
        workflow = json.loads(json.loads(answer)["pipeline_runtime"]["workflow_manifest"])
        if workflow["status"]["nodes"]:
            return workflow
    except (KeyError, TypeError, ValueError):
        pass
    raise PipelineError(f"the API does not say what pods run {run_id} has")


def pods(workflow: Json) -> dict[str, Pod]:
    """Task -> its pod, that of the last try; drivers, which prepare a task, by their own names."""
    nodes: Mapping[str, Json] = workflow["status"]["nodes"]

    def order(node: Json) -> tuple[str, int]:
        found = _TRY.search(node["displayName"])
        return node.get("startedAt") or "", int(found.group(1)) if found else 0

    found = {}
    for node in sorted(nodes.values(), key=order):
        if node.get("type") != "Pod":
            continue
        name = _TRY.sub("", node["displayName"])
        if name == _EXECUTOR and node.get("boundaryID") in nodes:
            name = _TRY.sub("", nodes[node["boundaryID"]]["displayName"])
        found[name] = Pod(
            workflow["metadata"].get("namespace", ""),
            _pod_name(workflow, node),
            node["phase"],
            node.get("message", ""),
        )
    return found


def _pod_name(workflow: Json, node: Json) -> str:
    """As Argo names the pod of a node: with the template before the hash of the node's id."""
    metadata = workflow["metadata"]
    if metadata.get("annotations", {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return node["id"]
    hash_ = node["id"].rpartition("-")[2]
    return f"{metadata['name']}-{node['templateName']}-{hash_}"


def _log(client: kfp.Client, connection: Connection, run_id: str, pod: Pod) -> str:
    """The end of what a pod printed, from the pod or, where it is gone, the archive.

    The API server has it, and Kubeflow's page, through which users of an installation mostly
    come, has it at a place of its own.
    """
    from kfp_server_api.exceptions import ApiException

    query = {"podname": pod.name, "podnamespace": pod.namespace, "runid": run_id}
    places = (
        f"/apis/v1alpha1/runs/{run_id}/nodes/{pod.name}/log",
        f"/k8s/pod/logs?{urllib.parse.urlencode(query)}",
    )

    def read() -> str:
        try:
            answer = _get(client, places[0])
        except ApiException as error:
            if error.status != 404:
                raise
            answer = _get(client, places[1])
        end = b""
        for chunk in answer.stream(_LOG_BYTES):
            end = (end + chunk)[-_LOG_BYTES:]
        return end.decode(errors="replace")

    # 500 is the answer where there is neither pod nor archive.
    return connection.patiently(read, final=(500,))


def _get(client: kfp.Client, path: str) -> Any:
    """An answer of the API that the SDK has no method for, as urllib3's HTTPResponse."""
    return client._run_api.api_client.call_api(
        path,
        "GET",
        auth_settings=["Bearer"],
        _return_http_data_only=True,
        _preload_content=False,
    )
