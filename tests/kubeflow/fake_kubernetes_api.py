"""A small Kubernetes API server with the controller of TrainJobs and TFJobs, for the real client.

It enforces names, conflicts, TrainJob's schema and the installed Role, deletes what a deleted job
or pod owns, and really starts the workers: processes of this machine, from the manifest's own
command and environment. Where a cluster has a name service it gives each worker's name an address
of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubeflow_trainer_api.models as trainer_models
import yaml

import kubeflow
from kubeflow.training_job.manifest import CONTAINERS, HOSTS_VARIABLE, INDEX_LABELS, POD_LABELS

Json = dict[str, Any]
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ROLE = Path(kubeflow.__path__[0]) / "manifests/training-rbac.yaml"


class Refused(Exception):
    """HTTP status and message of an error."""


class FakeCluster:
    """State of the cluster, and how a test steers it.

    Attributes:
        allowed: (resource, verb) of what the service account may do; at first, what the Role of
            kubeflow/manifests grants.
        hiccups: verb -> status codes with which its next requests are answered.
        lost_answers: verbs whose next request is done, and answered with an error all the same.
        script: what happens just before each of the next looks at a job.
        cut_logs: connections for logs that end in the middle of a line.
        secrets: secret -> key -> value.
        run_workers: whether processes are started; otherwise `finish` ends jobs.
        created, deleted: names of jobs, in order.
    """

    def __init__(self, run_workers: bool = True):
        role = next(iter(yaml.safe_load_all(_ROLE.read_text())))
        self.allowed = {
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        self.hiccups: dict[str, list[int]] = {}
        self.lost_answers: list[str] = []
        self.cut_logs = 0
        self.script: list[Callable[[], object]] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.run_workers = run_workers
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.processes: dict[str, subprocess.Popen] = {}
        self.logs = Path(tempfile.mkdtemp(prefix="pod-logs-"))
        self._lock = threading.RLock()

    def create(self, plural: str, body: Json) -> Json:
        self._admit(plural, "create")
        name = body["metadata"]["name"]
        if not _NAME.fullmatch(name) or len(f"{name}-node-0-99") > 63:
            raise Refused(422, f'metadata.name: Invalid value: "{name}"')
        for owner in body["metadata"].get("ownerReferences", []):
            if set(owner) != {"apiVersion", "kind", "name", "uid"} or not owner["uid"]:
                raise Refused(422, "metadata.ownerReferences: uid must not be empty")
        if plural == "trainjobs":
            _check_schema(body)
        with self._lock:
            if name in self.jobs:
                raise Refused(409, f'{plural} "{name}" already exists')
            # A server fills in what was left out.
            self.jobs[name] = {**body, "spec": {**body["spec"], "suspend": False}, "status": {}}
            self.created.append(name)
            self._start(plural, name, body["spec"])
            self._may_lose("create")
            return self.jobs[name]

    def get(self, plural: str, name: str) -> Json:
        self._admit(plural, "get")
        if self.script:
            self.script.pop(0)()
        with self._lock:
            if name not in self.jobs:
                raise Refused(404, f"{name} not found")
            self._judge(name)
            return self.jobs[name]

    def delete(self, plural: str, name: str) -> Json:
        self._admit(plural, "delete")
        with self._lock:
            if name not in self.jobs:
                raise Refused(404, f"{name} not found")
            self.remove(name)
            self._may_lose("delete")
        return {"status": "Success"}

    def remove(self, name: str) -> None:
        """A job and what it owns, whoever wants it."""
        with self._lock:
            del self.jobs[name]
            self.deleted.append(name)
            for pod in [each for each in self.pods if self.pods[each]["job"] == name]:
                del self.pods[pod]
                if process := self.processes.get(pod):
                    process.terminate()
                    process.wait(timeout=30)

    def owner_gone(self, uid: str) -> None:
        """The garbage collector, when the pod of this uid is no more."""
        for name, job in list(self.jobs.items()):
            if uid in (owner["uid"] for owner in job["metadata"].get("ownerReferences", [])):
                self.remove(name)

    def list_pods(self, selector: str) -> list[Json]:
        self._admit("pods", "list")
        with self._lock:
            key, _, value = selector.partition("=")
            return [
                {name: part for name, part in pod.items() if name != "job"}
                for pod in self.pods.values()
                if pod["metadata"]["labels"].get(key) == value
            ]

    def finish(self, name: str, condition: str, message: str = "") -> None:
        """Ends a job whose workers are not really run."""
        kind = {"type": condition, "status": "True", "message": message}
        self.jobs[name]["status"] = {"conditions": [kind]}

    def add_pod(self, job: str, index: int, status: Json, backend: str = "trainjob") -> str:
        """A worker's pod."""
        name = f"{job}-node-0-{index}"
        labels = {POD_LABELS[backend]: job, INDEX_LABELS[backend]: str(index)}
        metadata = {"name": name, "labels": labels, "uid": f"{name}-{len(self.created)}"}
        spec = {"containers": [{"name": CONTAINERS[backend]}]}
        self.pods[name] = {"metadata": metadata, "spec": spec, "status": status, "job": job}
        return name

    def log(self, pod: str, container: str | None) -> Path:
        """File with what a pod has written."""
        self._admit("pods/log", "get")
        if pod not in self.pods:
            raise Refused(404, f'pods "{pod}" not found')
        names = [each["name"] for each in self.pods[pod]["spec"]["containers"]]
        if container not in names:
            raise Refused(400, f"container {container} is not valid for pod {pod}")
        return self.logs / pod

    def _admit(self, resource: str, verb: str) -> None:
        if (resource, verb) not in self.allowed:
            raise Refused(403, f"cannot {verb} resource {resource} in API group")
        if statuses := self.hiccups.get(verb):
            raise Refused(statuses.pop(0), "etcd leader changed")

    def _may_lose(self, verb: str) -> None:
        if verb in self.lost_answers:
            self.lost_answers.remove(verb)
            raise Refused(504, "request did not complete within the allotted timeout")

    def _start(self, plural: str, job: str, spec: Json) -> None:
        if not self.run_workers:
            return
        tf_job = plural == "tfjobs"
        if tf_job:
            replicas = spec["tfReplicaSpecs"]["Worker"]
            container, count = replicas["template"]["spec"]["containers"][0], replicas["replicas"]
        else:
            container, count = spec["trainer"], spec["trainer"]["numNodes"]
        ports = [_free_port() for _ in range(count)]
        for index in range(count):
            environment = {each["name"]: self._value(each) for each in container["env"]}
            addresses = [f"127.0.0.1:{port}" for port in ports]
            if tf_job:
                task = {"type": "worker", "index": index}
                config = {"cluster": {"worker": addresses}, "task": task}
                environment["TF_CONFIG"] = json.dumps(config)
            else:
                hosts = environment[HOSTS_VARIABLE].split(",")
                assert [host.split(":")[0] for host in hosts] == [
                    f"{job}-node-0-{each}.{job}" for each in range(count)
                ]
                environment[HOSTS_VARIABLE] = ",".join(addresses)  # the name service
                environment["JOB_COMPLETION_INDEX"] = str(index)
            backend = "tfjob" if tf_job else "trainjob"
            pod = self.add_pod(job, index, {"phase": "Running"}, backend)
            program, *arguments = container["command"]
            assert program == "python"
            with (self.logs / pod).open("wb") as log:
                self.processes[pod] = subprocess.Popen(
                    [sys.executable, *arguments],
                    # Nothing of the pod that started the job is inherited.
                    env={
                        **{name: os.environ[name] for name in ("PATH", "HOME")},
                        "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]),
                        "CUDA_VISIBLE_DEVICES": "-1",
                        **environment,
                    },
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def _value(self, variable: Json) -> str:
        if "value" in variable:
            return variable["value"]
        reference = variable["valueFrom"]["secretKeyRef"]
        return self.secrets[reference["name"]][reference["key"]]

    def _judge(self, name: str) -> None:
        """What the controller makes of the processes."""
        own = {pod: self.processes[pod] for pod in self.processes if pod.startswith(f"{name}-node")}
        if not own:
            return
        codes = {pod: process.poll() for pod, process in own.items()}
        for pod, code in codes.items():
            if code is not None and pod in self.pods:
                if "containerStatuses" in self.pods[pod]["status"]:
                    continue
                now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                reason = "Error" if code else "Completed"
                terminated = {"exitCode": code, "reason": reason, "finishedAt": now}
                self.pods[pod]["status"] = {
                    "phase": "Failed" if code else "Succeeded",
                    "containerStatuses": [_container_status({"terminated": terminated})],
                }
        done = "Complete" if self.jobs[name]["kind"] == "TrainJob" else "Succeeded"
        if any(codes.values()):
            self.finish(name, "Failed", "jobset failed due to one or more job failures")
        elif all(code == 0 for code in codes.values()):
            self.finish(name, done)


def container_waiting(reason: str, message: str) -> Json:
    """Status of a pod whose container does not start."""
    waiting = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [_container_status(waiting)]}


def container_ended(code: int, reason: str, finished: str) -> Json:
    """Status of a pod whose container has ended, at an hour such as 12:00:01."""
    terminated = {"exitCode": code, "reason": reason, "finishedAt": f"2026-01-01T{finished}Z"}
    status = _container_status({"terminated": terminated})
    return {"phase": "Failed", "containerStatuses": [status]}


def _container_status(state: Json) -> Json:
    return {
        "name": "node", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
        "state": state,
    }  # fmt: skip


@contextlib.contextmanager
def serving(cluster: FakeCluster) -> Iterator[FakeCluster]:
    """Serves it on a free port; the real client is configured to it while the context lasts."""
    from kubernetes import client

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = url.path.strip("/").split("/")
            try:
                if parts[-1] == "log":
                    assert (query["follow"], query["timestamps"]) == ("True", "True")
                    path = cluster.log(parts[-2], query.get("container"))
                    self._stream(parts[-2], path)
                elif parts[-1] == "pods":
                    items = cluster.list_pods(query["labelSelector"])
                    self._send(200, {"kind": "PodList", "apiVersion": "v1", "items": items})
                elif self.command == "POST":
                    self._send(201, cluster.create(parts[-1], json.loads(raw)))
                elif self.command == "DELETE":
                    assert query["propagationPolicy"] == "Foreground"
                    self._send(200, cluster.delete(*parts[-2:]))
                else:
                    self._send(200, cluster.get(*parts[-2:]))
            except Refused as refusal:
                status, message = refusal.args
                self._send(status, {"kind": "Status", "code": status, "message": message})

        do_GET = do_POST = do_DELETE = _answer

        def _send(self, status: int, body: Json) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, pod: str, path: Path) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            data, lines = b"", 0
            with path.open("rb") if path.exists() else contextlib.nullcontext() as log:
                while True:
                    process = cluster.processes.get(pod)
                    ended = process is None or process.poll() is not None
                    data += log.read() if log else b""
                    *whole, data = data.split(b"\n")
                    for line in whole:
                        # Always the same for a line, as the kubelet has them.
                        stamp = f"2026-01-01T00:00:00.{lines:09d}Z ".encode()
                        lines += 1
                        if cluster.cut_logs and lines > 2:
                            cluster.cut_logs -= 1
                            self._chunk(stamp + line[: len(line) // 2])
                            self.close_connection = True
                            return
                        self._chunk(stamp + line + b"\n")
                    if ended and not whole:
                        break
                    time.sleep(0.02)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = client.Configuration.get_default_copy()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
    client.Configuration.set_default(configuration)
    try:
        yield cluster
    finally:
        client.Configuration.set_default(before)
        for process in cluster.processes.values():
            if process.poll() is None:
                process.kill()
        server.shutdown()
        server.server_close()


def _check_schema(body: Json) -> None:
    """Against the API's models, which themselves drop what they do not know."""
    try:
        parsed = trainer_models.TrainerV1alpha1TrainJob.from_dict(body)
    except ValueError as error:
        raise Refused(400, f"TrainJob: {error}") from error
    if unknown := missing_part_of(body, json.loads(parsed.to_json())):
        raise Refused(400, f"TrainJob: strict decoding error: unknown field {unknown}")


def missing_part_of(wanted: Any, there: Any, place: str = "") -> str:
    """The first part of `wanted` that is not in `there`."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if not isinstance(there, dict) or key not in there:
                return f"{place}.{key}"
            if found := missing_part_of(value, there[key], f"{place}.{key}"):
                return found
        return ""
    if isinstance(wanted, list):
        if not isinstance(there, list) or len(there) != len(wanted):
            return place
        found = (missing_part_of(*pair, place) for pair in zip(wanted, there, strict=True))
        return next((each for each in found if each), "")
    return "" if wanted == there else place


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
