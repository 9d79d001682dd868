"""A small Kubeflow Pipelines API server (v2beta1) with the real one's rules, for the real client.

Names of pipelines and of a pipeline's versions are unique, those of recurring runs are not; a
recurring run cannot be changed; a five-field cron is taken; a run whose parameters do not fit is
refused; in a multi-user installation everything belongs to a namespace.
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import itertools
import json
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

Json = dict[str, Any]


class Refused(Exception):
    """An answer that is an error: HTTP status, gRPC code, message."""


class FakeApi:
    """State of the server, and how a test steers it.

    Attributes:
        multi_user: whether requests must name a namespace.
        token: the bearer token that is asked for; empty: none.
        forbidden: namespaces that the caller may not use.
        states: states of the tasks that a run goes through, one per look: task -> state. The
            run ends with the last: FAILED if a task has, else SUCCEEDED.
        logs: task -> what its pod printed.
        hiccups: status codes with which the next requests for a run are answered.
    """

    def __init__(self) -> None:
        self.multi_user, self.token = False, ""
        self.forbidden: set[str] = set()
        self.states: list[dict[str, str]] = [{"Pusher": "SUCCEEDED"}]
        self.logs: dict[str, str] = {}
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
        parts = path.removeprefix("/apis/v2beta1/").split("/")
        match method, parts:
            case "GET", ["healthz"]:
                return {"multi_user": self.multi_user}
            case "GET", ["experiments"]:
                self._namespace(query.get("namespace"))
                return {"experiments": _filtered(self.experiments, query, "display_name")}
            case "POST", ["experiments"]:
                self._namespace(body.get("namespace"))
                return self._create(self.experiments, "experiment_id", body, unique=True)
            case "GET", ["experiments", _]:
                return _found(self.experiments, parts[1])
            case "POST", ["pipelines", "upload"]:
                return self._upload(query, body)
            case "POST", ["pipelines", "upload_version"]:
                return self._upload_version(query["pipelineid"], query["name"], body)
            case "GET", ["pipelines"]:
                self._namespace(query.get("namespace"))
                return {"pipelines": _filtered(self.pipelines, query, "display_name")}
            case "GET", ["pipelines", pipeline, "versions"]:
                own = [each for each in self.versions.values() if each["pipeline_id"] == pipeline]
                return _page("pipeline_versions", own, query)
            case "POST", ["runs"]:
                return self._run(body)
            case "GET", ["runs", run]:
                return self._look(run)
            case "POST", ["recurringruns"]:
                return self._recur(body)
            case "GET", ["recurringruns"]:
                self._namespace(query.get("namespace"))
                return _page("recurringRuns", list(self.recurring_runs.values()), query)
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

    def log(self, node: str) -> str:
        """The log of a node; only those with a pod have one."""
        if not node.endswith("-pod"):
            raise Refused(500, 13, f"pod {node} not found")
        return self.logs.get(node.removesuffix("-pod"), "")

    def _namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, 3, "Invalid input error: a namespace is needed in multi-user mode")
        if namespace in self.forbidden:
            raise Refused(403, 7, f"User is not authorized in namespace {namespace}")

    def _create(self, kind: Json, identity: str, body: Json, unique: bool) -> Json:
        name = body.get("display_name")
        if not name:
            raise Refused(400, 3, "Invalid input error: display_name is empty")
        if unique and any(each["display_name"] == name for each in kind.values()):
            raise Refused(409, 6, f"Already exist error: {name}")
        made = {**body, identity: f"{identity[:3]}-{next(self._numbers)}"}
        kind[made[identity]] = made
        return made

    def _upload(self, query: Json, body: str) -> Json:
        self._namespace(query.get("namespace"))
        made = self._create(
            self.pipelines,
            "pipeline_id",
            {"display_name": query["name"], "namespace": query.get("namespace", "")},
            unique=True,
        )
        # The first version bears the pipeline's name.
        self._upload_version(made["pipeline_id"], query["name"], body)
        return made

    def _upload_version(self, pipeline: str, name: str, body: str) -> Json:
        _found(self.pipelines, pipeline)
        documents = list(yaml.safe_load_all(body))
        if documents[0].get("schemaVersion") != "2.1.0":
            raise Refused(400, 3, "Invalid input error: unsupported schema version")
        if len(documents) > 1 and set(documents[1]) != {"platforms"}:
            raise Refused(400, 3, "Invalid input error: not a platform spec")
        own = [each for each in self.versions.values() if each["pipeline_id"] == pipeline]
        if any(each["display_name"] == name for each in own):
            raise Refused(409, 6, f"Already exist error: {name}")
        identity = f"ver-{next(self._numbers)}"
        self.versions[identity] = {
            "pipeline_version_id": identity,
            "pipeline_id": pipeline,
            "display_name": name,
            "pipeline_spec": documents[0],
        }
        return self.versions[identity]

    def _checked(self, body: Json) -> None:
        reference = body["pipeline_version_reference"]
        spec = _found(self.versions, reference["pipeline_version_id"])["pipeline_spec"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body["runtime_config"].get("parameters", {})
        for name in given:
            if name not in known:
                raise Refused(400, 3, f"Invalid input error: unknown parameter {name}")
        for name, parameter in known.items():
            if name not in given and "defaultValue" not in parameter:
                raise Refused(400, 3, f"Invalid input error: parameter {name} has no value")
        _found(self.experiments, body["experiment_id"])

    def _run(self, body: Json) -> Json:
        self._checked(body)
        made = self._create(self.runs, "run_id", body, unique=False)
        made["looks"] = 0
        return {key: value for key, value in made.items() if key != "looks"}

    def _look(self, run: str) -> Json:
        if self.hiccups:
            raise Refused(self.hiccups.pop(0), 14, "upstream connect error")
        found = _found(self.runs, run)
        states = self.states[min(found["looks"], len(self.states) - 1)]
        found["looks"] += 1
        over = found["looks"] >= len(self.states)
        ended = "FAILED" if "FAILED" in states.values() else "SUCCEEDED"
        details = [_detail("root", "root", "RUNNING", [])]
        names = list(states)
        for task, following in itertools.zip_longest(names, names[1:]):
            after = [f"{following}-driver"] if following else []
            state = states[task]
            # As Argo has them: what comes next is a child of what comes before.
            details += [
                _detail(f"{task}-driver", f"{task}-driver", "SUCCEEDED", [task]),
                _detail(task, task, state, [f"{task}-executor"]),
                _detail(f"{task}-executor", "executor", state, [f"{task}-try", f"{task}-pod"]),
                _detail(f"{task}-try", "executor(0)", "FAILED", []),
                _detail(f"{task}-pod", "executor(1)", state, after),
            ]
        return {
            "run_id": run,
            "display_name": found["display_name"],
            "state": ended if over else "RUNNING",
            "run_details": {"task_details": details},
        }

    def _recur(self, body: Json) -> Json:
        self._checked(body)
        fields = body["trigger"]["cron_schedule"]["cron"].split()
        if len(fields) not in (5, 6):  # five are taken, and read as if seconds were there
            raise Refused(400, 3, "Invalid input error: Schedule cron is not a valid format")
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refused(400, 3, "Invalid input error: max_concurrency must be 1 to 10")
        made = self._create(self.recurring_runs, "recurring_run_id", body, unique=False)
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
                if api.token and self.headers.get("Authorization") != f"Bearer {api.token}":
                    raise Refused(401, 16, "Request header error: there is no user identity")
                if url.path.startswith("/apis/v1alpha1/runs/"):
                    self._send(200, api.log(url.path.split("/")[-2]).encode(), "text/plain")
                    return
                body = _body(self.headers, raw)
                found = api.answer(self.command, url.path, query, body)
                self._send(200, json.dumps(found).encode())
            except Refused as refusal:
                status, code, message = refusal.args
                self._send(status, json.dumps({"code": code, "message": message}).encode())

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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def _detail(node: str, name: str, state: str, children: list[str]) -> Json:
    return {
        "task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, node)),
        "pod_name": node,
        "display_name": name,
        "state": state,
        "child_tasks": [{"pod_name": child} for child in children],
    }


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


def _filtered(kind: dict[str, Json], query: Json, key: str) -> list[Json]:
    found = list(kind.values())
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        assert predicate["key"] in (key, "name"), predicate
        assert predicate["operation"] in ("EQUALS", 1), predicate
        wanted = predicate.get("stringValue", predicate.get("string_value"))
        found = [each for each in found if each["display_name"] == wanted]
    return found


def _page(name: str, found: list[Json], query: Json) -> Json:
    size = min(int(query.get("page_size") or 10), 2)  # small, so that tests turn pages
    start = int(query.get("page_token") or 0)
    page: Json = {name: found[start : start + size]}
    if start + size < len(found):
        page["next_page_token"] = str(start + size)
    return page
