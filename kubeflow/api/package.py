"""A compiled pipeline file: what it is called, what may be set in a run, and its upload."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.errors import PipelineError
from kubeflow.api.client import Connection
from pipeline.config import strict_yaml
from pipeline.config.config import ConfigError

if TYPE_CHECKING:
    import kfp

Json = dict[str, Any]
_PAGE = 100


@dataclasses.dataclass(frozen=True)
class Package:
    """A file of `vqvae compile`.

    Attributes:
        digest: of its contents, by which its upload is found again.
        parameters: name -> definition (`parameterType`, `defaultValue`).
    """

    path: Path
    name: str
    digest: str
    parameters: Json
    pipeline_root: str

    @property
    def version_name(self) -> str:
        """The same for the same file."""
        return f"{self.name}-{self.digest[:12]}"


def load(path: Path) -> Package:
    """Reads a compiled pipeline.

    Raises:
        ConfigError: it is not one.
    """
    try:
        content = path.read_bytes()
        spec = next(iter(strict_yaml.load_all(content)))
        name = spec["pipelineInfo"]["name"]
        root = spec["root"]
    except (OSError, yaml.YAMLError, StopIteration, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a compiled pipeline; make one with `vqvae compile --out {path}`"
        ) from error
    return Package(
        path,
        name,
        hashlib.sha256(content).hexdigest(),
        root.get("inputDefinitions", {}).get("parameters", {}),
        spec.get("defaultPipelineRoot", ""),
    )


def read_parameters(package: Package, given: tuple[str, ...]) -> Json:
    """`name=value` texts as values of the types that the pipeline declares.

    Raises:
        ConfigError: an unknown name, or a value of another type.
    """
    values: Json = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--param {text}: must look like name=value")
        if name not in package.parameters:
            known = ", ".join(package.parameters) or "none"
            raise ConfigError(f"--param {name}: unknown; the pipeline has {known}")
        kind = package.parameters[name]["parameterType"]
        try:
            values[name] = _READERS[kind](value)
        except (ValueError, KeyError) as error:
            wanted = kind.removeprefix("NUMBER_").lower()
            raise ConfigError(f"--param {name}={value}: must be of type {wanted}") from error
    return values


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_READERS: dict[str, Callable[[str], object]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": _boolean,
    "LIST": json.loads,
    "STRUCT": json.loads,
}


def pipeline_root(package: Package, given: str | None) -> str:
    """Where the artifacts of a run go: the spec itself does not tell the backend.

    Raises:
        ConfigError: neither the option nor the compiled file says so.
    """
    if found := given or package.pipeline_root:
        return found
    raise ConfigError(
        "where do the artifacts go? Give --pipeline-root, a URI such as minio://mlpipeline/vqvae, "
        "here or to `vqvae compile`"
    )


def upload(client: kfp.Client, connection: Connection, package: Package) -> tuple[str, str, bool]:
    """Uploads a compiled pipeline unless this very file is there already.

    Returns:
        pipeline id, version id, and whether it was uploaded now.

    Raises:
        PipelineError: the API refuses it.
    """
    ask = connection.patiently
    pipeline_id = _pipeline_id(client, connection, package.name)
    if pipeline_id is None:
        # The SDK names a pipeline's first version after the pipeline; ours follow below it.
        made = ask(
            lambda: quietly(
                client.upload_pipeline,
                str(package.path),
                pipeline_name=package.name,
                namespace=connection.namespace,
            )
        )
        pipeline_id = made.pipeline_id
    for version in _versions(client, connection, pipeline_id):
        if version.display_name == package.version_name:
            return pipeline_id, version.pipeline_version_id, False
    version = ask(
        lambda: quietly(
            client.upload_pipeline_version,
            str(package.path),
            package.version_name,
            pipeline_id=pipeline_id,
        )
    )
    if version.pipeline_version_id is None:
        raise PipelineError(f"{package.path}: the API took the pipeline but gave it no version")
    return pipeline_id, version.pipeline_version_id, True


def _pipeline_id(client: kfp.Client, connection: Connection, name: str) -> str | None:
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    found = connection.patiently(
        lambda: client.list_pipelines(
            filter=json.dumps({"predicates": [predicate]}), namespace=connection.namespace
        )
    )
    return found.pipelines[0].pipeline_id if found.pipelines else None


def _versions(client: kfp.Client, connection: Connection, pipeline_id: str) -> list[Any]:
    found: list[Any] = []
    token = ""
    while True:
        page = connection.patiently(
            functools.partial(
                client.list_pipeline_versions, pipeline_id, page_token=token, page_size=_PAGE
            )
        )
        found += page.pipeline_versions or []
        token = page.next_page_token or ""
        if not token:
            return found


def quietly(method: Any, *arguments: Any, **options: Any) -> Any:
    """The SDK prints links of its own, to addresses that may not be the user's."""
    with contextlib.redirect_stdout(io.StringIO()):
        return method(*arguments, **options)
