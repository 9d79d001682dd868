"""Stands in for Kubeflow's driver and launcher: runs a compiled pipeline task by task.

It does what they do to a task, as far as a task can tell: resolves inputs, converts metadata
the way the metadata store does, hands artifacts over without their types, downloads them into
an otherwise empty file system, runs the task's own command, reads its output file strictly and
uploads what lies where it looks. The object store is a folder here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.container.__main__ import run as run_container

Json = dict[str, Any]
MOUNTS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}
BACKEND_2_14, BACKEND_2_15 = "2.14", "2.15"


class RunRefused(Exception):
    """The API server takes no such run."""


class TaskFailed(Exception):
    """A task failed; its name and what the launcher or the command said."""


@dataclasses.dataclass
class Artifact:
    """An artifact as the metadata store has it."""

    id: int
    uri: str
    metadata: Json


@dataclasses.dataclass
class Run:
    """What a run left: outputs by task, logs by task, the tasks that came from the cache."""

    id: str
    outputs: dict[str, dict[str, Artifact]] = dataclasses.field(default_factory=dict)
    logs: dict[str, str] = dataclasses.field(default_factory=dict)
    cached: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


class Cluster:
    """One installation of Kubeflow Pipelines.

    Args:
        folder: for its object stores.
    """

    def __init__(self, folder: Path):
        self._store = folder
        self._artifacts = 0
        self._cache: dict[str, dict[str, Artifact]] = {}

    def objects(self, uri: str) -> Path:
        """Where an object or a prefix of the object store is on this machine."""
        for scheme, mount in MOUNTS.items():
            if uri.startswith(scheme):
                return self._store / mount / uri.removeprefix(scheme)
        raise ValueError(f"no object store for {uri}")

    def run(
        self,
        documents: list[Json],
        pipeline_root: str,
        parameters: Json | None = None,
        backend: str = BACKEND_2_15,
    ) -> Run:
        """Creates a run and follows it to its end.

        Raises:
            RunRefused: an unknown parameter, or none for one without a default.
            TaskFailed: a task failed.
        """
        spec = documents[0]
        values = _root_parameters(spec, parameters or {})
        run = Run(str(uuid.uuid4()))
        tasks = dict(spec["root"]["dag"]["tasks"])
        while tasks:
            ready = [name for name in tasks if not (_needs(tasks[name]) & set(tasks))]
            assert ready, f"the tasks {list(tasks)} wait for each other"
            for name in sorted(ready):
                self._task(spec, name, tasks.pop(name), values, run, pipeline_root, backend)
        return run

    def _task(
        self, spec: Json, name: str, task: Json, values: Json, run: Run, root: str, backend: str
    ) -> None:
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        inputs = {
            "parameterValues": {
                key: self._parameter(source, values, run)
                for key, source in task.get("inputs", {}).get("parameters", {}).items()
            },
            "artifacts": {
                key: {"artifacts": [_handed_over(_produced(run, source))]}
                for key, source in task.get("inputs", {}).get("artifacts", {}).items()
            },
        }
        key = json.dumps([inputs["parameterValues"], _ids(inputs), container], sort_keys=True)
        caching = task.get("cachingOptions", {}).get("enableCache", False)
        if caching and key in self._cache:
            run.outputs[name] = self._cache[key]
            run.cached.append(name)
            return
        place = f"{root}/{spec['pipelineInfo']['name']}/{run.id}/{name}/{uuid.uuid4()}"
        outputs = {
            output: {
                "artifacts": [
                    {"name": output, "uri": f"{place}/{output}", "type": made["artifactType"]}
                ]
            }
            for output, made in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        outputs["executor-logs"] = {
            "artifacts": [
                {
                    "name": "executor-logs",
                    "uri": f"{place}/executor-logs",
                    "type": {"schemaTitle": "system.Artifact"},
                }
            ]
        }
        with tempfile.TemporaryDirectory(prefix="pod-") as pod:
            beside = f"{place}/executor_output.json"
            output_file = (
                f"{pod}/tmp/kfp_outputs/output_metadata.json"
                if backend == BACKEND_2_14
                else str(_mounted(beside, pod))
            )
            invocation = {
                "inputs": inputs,
                "outputs": {"artifacts": outputs, "outputFile": output_file},
            }
            # What the launcher cannot parse it cannot run.
            message = json_format.ParseDict(invocation, pipeline_spec_pb2.ExecutorInput())
            text = json_format.MessageToJson(message, indent=None)
            self._download(inputs, pod)
            for made in outputs.values():
                for artifact in made["artifacts"]:
                    _mounted(artifact["uri"], pod).parent.mkdir(parents=True, exist_ok=True)
            Path(output_file).parent.mkdir(parents=True, exist_ok=True)
            del outputs["executor-logs"]
            run.logs[name] = _execute(name, container, text, run.id, pod)
            made = self._upload(name, output_file, outputs, pod, run)
        run.outputs[name] = made
        if caching:
            self._cache[key] = made

    def _parameter(self, source: Json, values: Json, run: Run) -> Any:
        if "componentInputParameter" in source:
            return values[source["componentInputParameter"]]
        constant = source["runtimeValue"]["constant"]
        # Only a value that is nothing else is replaced.
        return run.id if constant == "{{$.pipeline_job_uuid}}" else constant

    def _download(self, inputs: Json, pod: str) -> None:
        for found in inputs["artifacts"].values():
            for artifact in found["artifacts"]:
                source, target = self.objects(artifact["uri"]), _mounted(artifact["uri"], pod)
                target.parent.mkdir(parents=True, exist_ok=True)
                # As downloaded: other times of change, no empty folders.
                for path in source.rglob("*") if source.is_dir() else []:
                    if path.is_file():
                        copy = target / path.relative_to(source)
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, copy)

    def _upload(
        self, name: str, output_file: str, outputs: Json, pod: str, run: Run
    ) -> dict[str, Artifact]:
        reported = pipeline_spec_pb2.ExecutorOutput()
        if os.path.exists(output_file):
            text = Path(output_file).read_text(encoding="utf-8")
            try:
                json_format.Parse(text, reported)
            except json_format.ParseError as error:
                raise TaskFailed(f"{name}: output file: {error}") from error
        report = json_format.MessageToDict(reported)
        recorded = {}
        for key, made in outputs.items():
            artifact = made["artifacts"][0]
            for change in report.get("artifacts", {}).get(key, {}).get("artifacts", []):
                artifact["uri"] = change.get("uri") or artifact["uri"]
                artifact.setdefault("metadata", {}).update(change.get("metadata", {}))
            if not artifact["uri"].startswith(tuple(MOUNTS)):
                run.warnings.append(f"{name}: {key} has no recognized URI {artifact['uri']}")
            else:
                source = _mounted(artifact["uri"], pod)
                for path in source.rglob("*"):
                    if path.is_file():
                        copy = self.objects(artifact["uri"]) / path.relative_to(source)
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, copy)
            self._artifacts += 1
            metadata = {
                field: _stored(name, field, value)
                for field, value in artifact.get("metadata", {}).items()
            }
            recorded[key] = Artifact(self._artifacts, artifact["uri"], metadata)
        return recorded


def _execute(name: str, container: Json, invocation: str, run_id: str, pod: str) -> str:
    """Runs the command of a task in this process; returns what it printed."""
    assert container["command"] == ["python", "-m", "kubeflow.container"]
    arguments = [_filled_in(argument, invocation) for argument in container["args"]]
    assert max(len(argument) for argument in arguments) < 128 * 1024
    variables = {
        "VQVAE_MOUNT_ROOT": pod,
        "TMPDIR": pod,
        "KFP_RUN_ID": run_id,
        "KFP_POD_NAME": f"{name.lower()}-0",
        "KFP_POD_UID": str(uuid.uuid4()),
    }
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)  # a pod's log has both
    logging.getLogger().addHandler(handler)
    before, before_tmp = dict(os.environ), tempfile.tempdir
    os.environ.update(variables)
    tempfile.tempdir = pod
    try:
        with contextlib.redirect_stdout(printed):
            run_container(arguments)
    except Exception as error:
        raise TaskFailed(f"{name}: {error}") from error
    finally:
        logging.getLogger().removeHandler(handler)
        tempfile.tempdir = before_tmp
        os.environ.clear()
        os.environ.update(before)
    return printed.getvalue()


def _filled_in(argument: str, invocation: str) -> str:
    filled = argument.replace("{{$}}", invocation)
    assert "{{$" not in argument.replace("{{$}}", ""), argument
    return filled


def _root_parameters(spec: Json, given: Json) -> Json:
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    if unknown := set(given) - set(known):
        raise RunRefused(f"unknown parameters {sorted(unknown)}")
    values = {}
    for name, parameter in known.items():
        if name not in given and "defaultValue" not in parameter:
            raise RunRefused(f"no value for {name}")
        value = given.get(name, parameter.get("defaultValue"))
        # Numbers are protobuf's: integers do not exist.
        values[name] = float(value) if isinstance(value, int) else value
    return values


def _needs(task: Json) -> set[str]:
    producers = {
        source["taskOutputArtifact"]["producerTask"]
        for source in task.get("inputs", {}).get("artifacts", {}).values()
    }
    return producers | set(task.get("dependentTasks", []))


def _produced(run: Run, source: Json) -> Artifact:
    output = source["taskOutputArtifact"]
    return run.outputs[output["producerTask"]][output["outputArtifactKey"]]


def _handed_over(artifact: Artifact) -> Json:
    """An input as the driver reads it back: named by its number, without its type."""
    return {
        "name": str(artifact.id),
        "uri": artifact.uri,
        "type": {"instanceSchema": ""},
        "metadata": {
            **artifact.metadata,
            "display_name": f"artifact {artifact.id}",
            "store_session_info": '{"Provider": "minio", "Params": {"region": "minio"}}',
        },
    }


def _stored(task: str, field: str, value: Any) -> Any:
    """A value of metadata on its way through the metadata store."""
    if value is None:
        raise TaskFailed(f"{task}: metadata {field}: unknown/unsupported value type null")
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    if isinstance(value, dict):
        return {"struct": value}
    return value


def _ids(inputs: Json) -> Json:
    return {
        key: [artifact["name"] for artifact in found["artifacts"]]
        for key, found in inputs["artifacts"].items()
    }


def _mounted(uri: str, pod: str) -> Path:
    scheme = re.match(r"\w+://", uri)
    assert scheme, uri
    return Path(pod, MOUNTS[scheme.group()], uri.removeprefix(scheme.group()))
