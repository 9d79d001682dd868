"""What the backend would refuse or misread in a compiled pipeline, found before it is uploaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from components.errors import PipelineError
from kubeflow.compiler.pods import SINCE
from pipeline import component_ids

Json = dict[str, Any]

_TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
# The kernel's limit for one argument (MAX_ARG_STRLEN), with room for what the launcher puts in.
_LONGEST_ARGUMENT = 128 * 1024
_PLACEHOLDERS = (
    "{{$.pipeline_job_name}}",
    "{{$.pipeline_job_resource_name}}",
    "{{$.pipeline_job_uuid}}",
    "{{$.pipeline_task_name}}",
    "{{$.pipeline_task_uuid}}",
)
_SECRET_NAME = re.compile(r"(?i)(secret|password|passwd|token|access_key|credential)")
_CREDENTIAL_FILE = re.compile(r"(?i)(_file|_path)$")


def check(documents: list[Json], backend: tuple[int, int]) -> None:
    """Checks a PipelineSpec and its platform document.

    Args:
        documents: both, as `kubeflow.compiler.compile` makes them.
        backend: version of Kubeflow Pipelines that is to run them.

    Raises:
        PipelineError: the first problem, with its reason.
    """
    for problem in problems(documents, backend):
        raise PipelineError(f"the compiled pipeline would not run: {problem}")


def problems(documents: list[Json], backend: tuple[int, int]) -> Iterator[str]:
    """Every problem, one line each."""
    spec = documents[0]
    platform = documents[1] if len(documents) > 1 else {}
    if spec.get("schemaVersion") != "2.1.0":
        yield f"schemaVersion is {spec.get('schemaVersion')}; the backend takes 2.1.0 only"
    yield from _shape(spec, platform)
    yield from _executors(spec)
    yield from _tasks(spec)
    yield from _constants(spec)
    yield from _platform(spec, platform, backend)


def _shape(spec: Json, platform: Json) -> Iterator[str]:
    """Both documents against the messages that the backend parses them into, strictly."""
    from google.protobuf import json_format, struct_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
        json_format.ParseDict(spec["deploymentSpec"], deployment)
        json_format.ParseDict(platform, struct_pb2.Struct())
    except json_format.ParseError as error:
        yield f"not a PipelineSpec: {' '.join(str(error).split())}"


def _executors(spec: Json) -> Iterator[str]:
    for label, executor in spec["deploymentSpec"]["executors"].items():
        kind = next(iter(executor), "nothing")
        if kind not in ("container", "importer"):
            yield (
                f"{label} is a {kind}; the backend runs containers and importers only, and "
                "refuses the rest when a run is created"
            )
            continue
        container = executor.get("container", {})
        if "lifecycle" in container:
            yield f"{label} has a lifecycle hook, which the backend never runs"
        if kind == "container":
            if "@sha256:" not in container.get("image", ""):
                yield f"{label}: the image {container.get('image')} is not named by its digest"
            resources = container.get("resources", {})
            for needed in ("resourceCpuLimit", "resourceMemoryLimit"):
                if not resources.get(needed):
                    yield f"{label} has no {needed}; without it a pod may take a whole node"
        for argument in container.get("args", []):
            if len(argument.encode()) > _LONGEST_ARGUMENT:
                yield (
                    f"{label} has an argument of {len(argument):,} characters; Linux takes "
                    f"{_LONGEST_ARGUMENT:,}"
                )
        for variable in container.get("env", []):
            name = variable["name"]
            if _SECRET_NAME.search(name) and not _CREDENTIAL_FILE.search(name):
                yield (
                    f"{label}: the variable {name} looks like a credential, and everybody reads "
                    "the spec; name a secret under kubeflow.pods.secret_env"
                )


def _tasks(spec: Json) -> Iterator[str]:
    tasks = spec["root"]["dag"]["tasks"]
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, task in tasks.items():
        if not _TASK_NAME.fullmatch(name):
            yield f"task {name}: the name may hold letters, digits and dashes only"
        if name in component_ids.OUTSIDE and task.get("cachingOptions", {}).get("enableCache"):
            yield f"task {name} is cached, but reads or writes what Kubeflow does not look at"
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            parameter = source.get("componentInputParameter")
            if parameter is not None and "defaultValue" not in parameters.get(parameter, {}):
                yield f"the runtime parameter {parameter!r} has no default; a run needs one"
            producer = source.get("taskOutputParameter", {}).get("producerTask")
            if producer is not None and producer not in tasks:
                yield f"task {name} takes {key!r} from {producer}, which does not exist"
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            output = source.get("taskOutputArtifact", {})
            producer = output.get("producerTask")
            made = spec["components"].get(producer, {}).get("outputDefinitions", {})
            if output.get("outputArtifactKey") not in made.get("artifacts", {}):
                yield f"task {name} takes {key!r} from {producer}, which makes no such artifact"


def _constants(spec: Json) -> Iterator[str]:
    for name, task in spec["root"]["dag"]["tasks"].items():
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            value = source.get("runtimeValue", {}).get("constant")
            text = value if isinstance(value, str) else json.dumps(value)
            if "RuntimeParameter" in text:
                yield (
                    f"task {name}: a RuntimeParameter inside of {key!r} has become text; only a "
                    "whole property can be one"
                )
            if "{{$" in text and text not in _PLACEHOLDERS:
                yield f"task {name}: {key!r} holds a placeholder that the backend does not know"


def _platform(spec: Json, platform: Json, backend: tuple[int, int]) -> Iterator[str]:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    labels = spec["deploymentSpec"]["executors"]
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    for label, settings in kubernetes.get("deploymentSpec", {}).get("executors", {}).items():
        if label not in labels:
            yield f"the platform document has settings for {label}, which does not exist"
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        try:
            json_format.ParseDict(settings, message)
        except json_format.ParseError as error:
            yield f"the platform document, {label}: {' '.join(str(error).split())}"
        for field in settings:
            since = SINCE.get(field, (2, 14))
            if backend < since:
                yield (
                    f"{label}: a backend {'.'.join(map(str, backend))} does not know {field} and "
                    f"would fail the run; it came with {'.'.join(map(str, since))}"
                )
            if field == "enabledSharedMemory":
                yield f"{label}: enabledSharedMemory does nothing; mount memory at /dev/shm"
