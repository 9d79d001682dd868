"""What can be known to fail before a job is submitted, one line each."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import PipelineError
from components.object_store.folder import is_remote
from components.versions import library_version
from pipeline.config.beam import BeamConfig
from pipeline.engines.flink import Flink

if TYPE_CHECKING:
    from pipeline.engines.job_service import JobService

_JAR = re.compile(r"beam-runners-flink-(\d+\.\d+)-job-server-(\d+\.\d+\.\d+)\.jar")
# In the jar of every job server: the version of the Java SDK that is in it.
_SDK_PROPERTIES = "org/apache/beam/sdk/sdk.properties"
_LOOPBACK = re.compile(r"(https?://)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/.*)?")


def engine_of(arguments: Sequence[str]) -> Flink | JobService | None:
    """The engine that Beam's arguments name, after a look whether it can take a job.

    Returns:
        what has the job; None where Beam runs it itself, or a service that is not looked at.

    Raises:
        PipelineError: it does not answer, is of another version than the job server, which may be
            missing or of another version than Beam here, or has too few slots.
    """
    to = _target(arguments)
    if to.runner == "FlinkRunner":
        return _flink(to)
    if to.runner == "PortableRunner":
        from pipeline.engines.job_service import JobService

        service = JobService(to.job_endpoint)
        service.check()
        return service
    return None


def check_paths(beam: BeamConfig, paths: Mapping[str, str | Path | None]) -> None:
    """Refuses what workers of another machine would not find.

    Args:
        beam: whose `shared_paths` say what they see.
        paths: what a path is -> the path, or the URI of an object store, which all see.

    Raises:
        PipelineError: naming the path.
    """
    address = {"flink": beam.flink.master, "portable": beam.portable.job_endpoint}.get(beam.runner)
    if beam.runner == "direct" or (address and _LOOPBACK.fullmatch(address)):
        return
    for name, path in paths.items():
        if path is None or is_remote(str(path)):
            continue
        absolute = Path(path).absolute()
        if not any(absolute.is_relative_to(shared) for shared in beam.shared_paths):
            raise PipelineError(
                f"{name} {path}: the workers of {address or beam.runner} may not have this path; "
                "put it on a volume that they mount at the same path, and name that in "
                "beam.shared_paths"
            )


def _target(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--runner")
    parser.add_argument("--flink_master")
    parser.add_argument("--flink_job_server_jar")
    parser.add_argument("--parallelism", type=int)
    parser.add_argument("--job_endpoint")
    return parser.parse_known_args(list(arguments))[0]


def _flink(to: argparse.Namespace) -> Flink:
    jar = Path(to.flink_job_server_jar)
    if not jar.is_file():
        raise PipelineError(f"beam.flink.job_server_jar: {jar} is no file")
    named = _JAR.fullmatch(jar.name)
    if not named:
        raise PipelineError(
            f"beam.flink.job_server_jar: {jar.name} does not say of which versions it is; keep the "
            "name it is published by, beam-runners-flink-1.20-job-server-VERSION.jar"
        )
    flink_version, beam_version = named.groups()
    ours = library_version("apache-beam")
    for theirs in {beam_version, _sdk_version(jar) or beam_version}:
        if theirs != ours:
            raise PipelineError(
                f"beam.flink.job_server_jar: {jar.name} is of Beam {theirs}, and Beam is {ours} "
                "here and in the workers; they must be the same"
            )
    flink = Flink(to.flink_master)
    version = flink.version()
    if version.split(".")[:2] != flink_version.split("."):
        raise PipelineError(
            f"beam.flink.master: {flink.url} is Flink {version}, and {jar.name} is for Flink "
            f"{flink_version}; take the job server for Flink {'.'.join(version.split('.')[:2])}"
        )
    slots = flink.slots()
    if slots.total < to.parallelism:
        raise PipelineError(
            f"beam.flink.parallelism: {to.parallelism} needs as many slots, and {flink.url} has "
            f"{slots.total}; lower it, or start more TaskManagers"
        )
    return flink


def _sdk_version(jar: Path) -> str | None:
    """What a job server says of itself; None if it says nothing.

    Raises:
        PipelineError: it is no jar.
    """
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read(_SDK_PROPERTIES).decode()
    except KeyError:
        return None
    except (OSError, zipfile.BadZipFile) as error:
        raise PipelineError(f"beam.flink.job_server_jar: {jar} is no jar: {error}") from error
    found = re.search(r"^version=(\d+\.\d+\.\d+)\s*$", text, re.MULTILINE)
    return found[1] if found else None
