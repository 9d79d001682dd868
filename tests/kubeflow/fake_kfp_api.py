"""A small Kubeflow Pipelines API server with the rules of the real ones, 2.14 to 2.17.

Names of pipelines and of a pipeline's versions are unique in a namespace, those of recurring runs
are not; a recurring run cannot be changed; cron is read as robfig/cron 1.2 reads it, five fields
too; specs are parsed strictly, requests are not; a run whose parameters do not fit is refused; in a
multi-user installation everything belongs to a namespace. A run's tasks are the nodes of Argo's
workflow, without the names of their pods; only a pod, by its name, has a log.
"""

from __future__ import annotations

import base64
import contextlib
import email.parser
import email.policy
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fake_argo as argo
import yaml
from robfig_cron import read_cron

Json = dict[str, Any]

PAGE = 2  # small, so that tests turn pages
_V2, _V1 = "/apis/v2beta1/", "/apis/v1beta1/"


class Refused(Exception):
    """An answer that is an error: HTTP status, gRPC code, message."""


class FakeApi:
    """State of the server, and how a test steers it.

    Attributes:
        multi_user: whether requests must name a namespace.
        token, cookies: what is asked for; empty: nothing.
        sign_in_page: whether who has no cookie is sent to a page, as Dex does, instead of a 401.
        forbidden: namespaces that the caller may not use.
        through_page: whether it is Kubeflow's page, below /pipeline, that passes requests on.
        states: states of the tasks that a run goes through, one per look: task -> state. The
            run ends with the last: FAILED if a task has, CANCELED if one has, else SUCCEEDED.
        tries: task -> how many pods it had; by default one, of a task that is not tried again.
        driver_fails: task whose driver fails, so that it never begins.
        messages: task -> what Argo says of its pod.
        logs: task -> what its last pod printed, `TASK-driver` for its driver.
        pods_are_gone: whether the logs have gone with the pods.
        hiccups: status codes with which the next requests for a run are answered; 0: no answer.
    """

    def __init__(self) -> None:
        self.multi_user, self.through_page, self.sign_in_page = False, False, False
        self.token, self.cookies = "", ""
        self.forbidden: set[str] = set()
        self.states: list[dict[str, str]] = [{"Pusher": "SUCCEEDED"}]
        self.tries: dict[str, int] = {}
        self.driver_fails = ""
        self.messages: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        self.pods_are_gone = False
        self.hiccups: list[int] = []
        self.experiments: dict[str, Json] = {}
        self.pipelines: dict[str, Json] = {}
        self.versions: dict[str, Json] = {}
        self.runs: dict[str, Json] = {}
        self.recurring_runs: dict[str, Json] = {}
        self.calls: list[str] = []
        self.address = ""
        self._numbers = itertools.count(1)

    def answer(self, method: str, path: str, query: Json, body: Any) -> Json:
        """What the server answers; raises `Refused`."""
        self.calls.append(f"{method} {path}")
        if path.startswith(_V1):
            return self._workflow_of(path.removeprefix(_V1).removeprefix("runs/"))
        parts = path.removeprefix(_V2).split("/")
        match method, parts:
            case "GET", ["healthz"]:
                return {"multi_user": self.multi_user}
            case "GET", ["experiments"]:
                return self._list("experiments", self.experiments, query)
            case "POST", ["experiments"]:
                self._namespace(body.get("namespace"))
                return self._create(self.experiments, "experiment_id", body, "namespace")
            case "GET", ["experiments", identity]:
                return _found(self.experiments, identity)
            case "POST", ["pipelines", "upload"]:
                return self._upload(query, body)
            case "POST", ["pipelines", "upload_version"]:
                return self._upload_version(query["pipelineid"], query["name"], body)
            case "GET", ["pipelines"]:
                return self._list("pipelines", self.pipelines, query)
            case "GET", ["pipelines", pipeline, "versions"]:
                _found(self.pipelines, pipeline)
                own = {k: v for k, v in self.versions.items() if v["pipeline_id"] == pipeline}
                return _page("pipeline_versions", own, query)
            case "GET", ["pipelines", _, "versions", version]:
                return _found(self.versions, version)
            case "POST", ["runs"]:
                return self._run(body)
            case "GET", ["runs", run]:
                return self._look(run)
            case "POST", ["recurringruns"]:
                return self._recur(body)
            case "GET", ["recurringruns"]:
                return self._list("recurringRuns", self.recurring_runs, query)
            case "GET", ["recurringruns", identity]:
                return _found(self.recurring_runs, identity)
            case "POST", ["recurringruns", action]:
                identity, _, verb = action.partition(":")
                status = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
                _found(self.recurring_runs, identity)["status"] = status
                return {}
            case "DELETE", ["recurringruns", identity]:
                _found(self.recurring_runs, identity)
                del self.recurring_runs[identity]
                return {}
        raise Refused(404, 5, f"no such method: {method} {path}")

    def log(self, run: str, pod: str) -> str:
        """The log of a pod of a run."""
        self.calls.append(f"LOG {pod}")
        for node in self._workflow_nodes(_found(self.runs, run)):
            if node["type"] == "Pod" and argo.pod_name(node) == pod and not self.pods_are_gone:
                return self.logs.get(node["of"], "")
        raise Refused(500, 13, f'Failed to read logs: pods "{pod}" not found')

    # Experiments, pipelines, versions

    def _namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, 3, "Invalid input error: a namespace is needed in multi-user mode")
        if namespace in self.forbidden:
            raise Refused(403, 7, f"User is not authorized in namespace {namespace}")

    def _list(self, name: str, kind: Json, query: Json) -> Json:
        self._namespace(query.get("namespace"))
        wanted = query.get("namespace") or ""
        return _page(
            name, {k: v for k, v in kind.items() if v.get("namespace", "") == wanted}, query
        )

    def _create(self, kind: Json, identity: str, body: Json, unique_in: str = "") -> Json:
        name = body.get("display_name")
        if not name:
            raise Refused(400, 3, "Invalid input error: display_name is empty")
        if unique_in and any(
            (each["display_name"], each.get(unique_in)) == (name, body.get(unique_in))
            for each in kind.values()
        ):
            raise Refused(409, 6, f"Already exist error: {name}")
        made = {**body, identity: f"{identity[:3]}-{next(self._numbers)}"}
        kind[made[identity]] = made
        return made

    def _upload(self, query: Json, body: str) -> Json:
        self._namespace(query.get("namespace"))
        _specs(body)
        made = self._create(
            self.pipelines,
            "pipeline_id",
            {"display_name": query["name"], "namespace": query.get("namespace", "")},
            "namespace",
        )
        # The first version bears the pipeline's name.
        self._upload_version(made["pipeline_id"], query["name"], body)
        return made

    def _upload_version(self, pipeline: str, name: str, body: str) -> Json:
        self._namespace(_found(self.pipelines, pipeline)["namespace"])
        spec = _specs(body)
        return self._create(
            self.versions,
            "pipeline_version_id",
            {"pipeline_id": pipeline, "display_name": name, "pipeline_spec": spec},
            "pipeline_id",
        )

    # Runs

    def _checked(self, body: Json) -> str:
        """Refuses a run that could not be compiled; returns its namespace."""
        reference = body["pipeline_version_reference"]
        spec = _found(self.versions, reference["pipeline_version_id"])["pipeline_spec"]
        if not spec["root"].get("dag", {}).get("tasks"):
            raise Refused(400, 3, "Failed to compile job: the root has no tasks")
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body["runtime_config"].get("parameters", {})
        for name, value in given.items():
            if name not in known:
                raise Refused(400, 3, f"Invalid input error: unknown parameter {name}")
            kind = known[name]["parameterType"]
            if type(value).__name__ not in _TYPES[kind]:
                raise Refused(400, 3, f"Invalid input error: {name} requires type {kind}")
        for name, parameter in known.items():
            if name not in given and "defaultValue" not in parameter:
                raise Refused(400, 3, f"Invalid input error: parameter {name} has no value")
        namespace = _found(self.experiments, body["experiment_id"]).get("namespace", "")
        self._namespace(namespace)
        return namespace

    def _run(self, body: Json) -> Json:
        namespace = self._checked(body)
        made = self._create(self.runs, "run_id", {**body, "namespace": namespace})
        made["looks"] = 0
        return {key: value for key, value in made.items() if key != "looks"}

    def _look(self, run: str) -> Json:
        if self.hiccups:
            raise Refused(self.hiccups.pop(0), 14, "upstream connect error")
        found = _found(self.runs, run)
        self._namespace(found["namespace"])
        found["looks"] += 1
        states = self._states(found)
        over = found["looks"] >= len(self.states)
        ended = next((s for s in ("FAILED", "CANCELED") if s in states.values()), "SUCCEEDED")
        if self.driver_fails:
            ended = "FAILED"
        details = [argo.detail(node) for node in self._workflow_nodes(found)]
        return {
            "run_id": run,
            "display_name": found["display_name"],
            "state": ended if over else "RUNNING",
            "run_details": {"task_details": sorted(details, key=lambda each: each["task_id"])},
        }

    def _states(self, run: Json) -> dict[str, str]:
        return self.states[min(max(run["looks"] - 1, 0), len(self.states) - 1)]

    def _workflow_of(self, run: str) -> Json:
        """v1beta1: Argo's workflow, as text in the answer."""
        found = _found(self.runs, run)
        nodes = {
            node["id"]: {key: value for key, value in node.items() if key != "of"}
            for node in self._workflow_nodes(found)
        }
        manifest = {
            "metadata": {"name": argo.WORKFLOW, "namespace": found["namespace"] or "kubeflow"},
            "status": {"phase": "Failed", "message": "child failed", "nodes": nodes},
        }
        return {"run": {"id": run}, "pipeline_runtime": {"workflow_manifest": json.dumps(manifest)}}

    def _workflow_nodes(self, run: Json) -> list[Json]:
        return argo.nodes(self._states(run), self.tries, self.driver_fails, self.messages)

    # Recurring runs

    def _recur(self, body: Json) -> Json:
        namespace = self._checked(body)
        try:
            read_cron(body["trigger"]["cron_schedule"]["cron"])
        except ValueError as error:
            raise Refused(400, 3, f"Schedule cron is not a supported format: {error}") from error
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refused(400, 3, "Invalid input error: max_concurrency must be 1 to 10")
        made = self._create(
            self.recurring_runs, "recurring_run_id", {**body, "namespace": namespace}
        )
        made["status"] = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
        return made


@contextlib.contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serves it on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                self._route(url.path, query, raw)
            except Refused as refusal:
                status, code, message = refusal.args
                if not status:
                    self.close_connection = True
                    return
                words = {"code": code, "message": message, "details": []}
                if "/upload" in url.path or "/log" in url.path:
                    words = {"error_message": message, "error_details": message}
                self._send(status, json.dumps(words).encode())

        def _route(self, path: str, query: Json, raw: bytes) -> None:
            if api.through_page:
                if not path.startswith("/pipeline/"):
                    self._send(200, b"<html>Kubeflow Central Dashboard</html>", "text/html")
                    return
                path = path.removeprefix("/pipeline")
            if not self._signed_in():
                return
            run_log = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)
            if run_log and not api.through_page:
                self._send(200, api.log(*run_log.groups()).encode(), "text/plain")
            elif path == "/k8s/pod/logs" and api.through_page:
                if api.multi_user and not query.get("podnamespace"):
                    raise Refused(422, 3, "podnamespace argument is required")
                self._send(200, api.log(query["runid"], query["podname"]).encode(), "text/plain")
            elif path.startswith((_V1, _V2)):
                found = api.answer(self.command, path, query, _body(self.headers, raw))
                self._send(200, json.dumps(found).encode())
            else:
                self._send(404, b"Cannot GET", "text/html")

        def _signed_in(self) -> bool:
            if api.cookies and self.headers.get("Cookie") != api.cookies:
                if api.sign_in_page:
                    self.send_response(302)
                    self.send_header("Location", "/dex/auth?state=secret")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return False
                raise Refused(401, 16, "Request header error: there is no user identity")
            if api.token and self.headers.get("Authorization") != f"Bearer {api.token}":
                raise Refused(401, 16, "Request header error: there is no user identity")
            return True

        do_GET = do_POST = do_DELETE = _answer

        def _send(self, status: int, data: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    api.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


_TYPES = {
    "STRING": ("str",),
    "NUMBER_INTEGER": ("int", "float"),
    "NUMBER_DOUBLE": ("int", "float"),
    "BOOLEAN": ("bool",),
    "LIST": ("list",),
    "STRUCT": ("dict",),
}


def _specs(body: str) -> Json:
    """The pipeline spec of an upload, if both documents parse as the backend's messages."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec, *platforms = yaml.safe_load_all(body)
    try:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        for platform in platforms:
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise Refused(400, 3, f"invalid v2 pipeline spec: {error}") from error
    if parsed.schema_version != "2.1.0":
        raise Refused(400, 3, "KFP only supports schema version 2.1.0")
    if not parsed.pipeline_info.name or not parsed.HasField("root"):
        raise Refused(400, 3, "invalid v2 pipeline spec: name or root component is empty")
    return spec


def _body(headers: Any, raw: bytes) -> Any:
    kind = headers.get("Content-Type", "")
    if kind.startswith("multipart/form-data"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.default).parsebytes(head + raw)
        (part,) = message.iter_parts()
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        return part.get_payload(decode=True).decode()
    return json.loads(raw) if raw else {}


def _found(kind: dict[str, Json], identity: str) -> Json:
    if identity not in kind:
        raise Refused(404, 5, f"{identity} not found")
    return kind[identity]


def _page(name: str, kind: Json, query: Json) -> Json:
    """A page of a list, filtered; as in the real one, a list without entries is left out."""
    found = list(kind.values())
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        if predicate["operation"] not in ("EQUALS", 1):
            raise Refused(400, 3, f"unknown operation {predicate['operation']}")
        if predicate["key"] not in ("name", "display_name"):
            raise Refused(400, 3, f"unrecognized key {predicate['key']}")
        found = [each for each in found if each["display_name"] == predicate["stringValue"]]
    size = min(int(query.get("page_size") or PAGE), PAGE)
    try:
        start = int(base64.b64decode(query.get("page_token") or "", validate=True) or 0)
    except ValueError as error:
        raise Refused(400, 3, "invalid package token") from error
    page: Json = {"total_size": len(found)}
    if found[start : start + size]:
        page[name] = found[start : start + size]
    if start + size < len(found):
        page["next_page_token"] = base64.b64encode(str(start + size).encode()).decode()
    return page
