"""Typed settings of Beam: the `beam` section of a configuration, and where its jobs run."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from models.config import Section
from pipeline.config.home_path import HomePath


def _is_host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise ValueError("must be HOST:PORT")
    return value


def _is_address(value: str) -> str:
    if not re.fullmatch(r"(https?://)?[^/\s]+(/.*)?", value):
        raise ValueError("must be HOST:PORT or http(s)://HOST:PORT")
    return value.rstrip("/")


HostPort = Annotated[str, AfterValidator(_is_host_and_port)]

_Count = Annotated[int, Field(gt=0)]


class FlinkConfig(Section):
    """The Flink cluster, where `beam.runner` is flink."""

    # REST address of its JobManager: HOST:PORT or https://HOST:PORT. Required with this runner.
    master: Annotated[str, AfterValidator(_is_address)] | None = None
    # Subtasks of a job, each of which takes a slot. Default 1.
    parallelism: _Count = 1
    # Path of Beam's job server for this Flink, beam-runners-flink-1.20-job-server-VERSION.jar; it
    # is read where the job is submitted. Required with this runner.
    job_server_jar: HomePath | None = None
    # The pool of `vqvae beam-worker`, HOST:PORT as a TaskManager sees it. Default localhost:50000,
    # which is a container beside it in the same pod.
    worker_pool: HostPort = "localhost:50000"
    # Worker processes that a job starts in each pool: as many as a TaskManager has slots keep them
    # all busy. Default 1.
    workers_per_pool: _Count = 1


class PortableConfig(Section):
    """Any service with Beam's job API, where `beam.runner` is portable."""

    # The job service, HOST:PORT. Required with this runner.
    job_endpoint: HostPort | None = None
    # The pool of `vqvae beam-worker`, HOST:PORT as the engine sees it. Default localhost:50000.
    worker_pool: HostPort = "localhost:50000"


class BeamConfig(Section):
    """Where the data-parallel components run, and encoding and decoding in bulk."""

    # `direct`: on this machine, or in the task's own pod on Kubeflow; `flink`: on a Flink cluster;
    # `portable`: on any job service of Beam; `dataflow`: on Google Cloud Dataflow, whose settings
    # are in `args`. Default direct.
    runner: Literal["direct", "flink", "portable", "dataflow"] = "direct"
    # Processes of the direct runner; 1 is in this process, which is quickest for little data.
    # Default 1.
    workers: _Count = 1
    flink: FlinkConfig = FlinkConfig()
    portable: PortableConfig = PortableConfig()
    # Folders that the workers of another machine have under the same paths, as on a shared volume.
    # Data, run root and outputs must be below one of them. Default none.
    shared_paths: tuple[HomePath, ...] = ()
    # Further arguments for Beam, such as --project=p for Dataflow. What a key above sets is
    # refused here. Default none.
    args: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> BeamConfig:
        needed = {
            "flink": {
                "beam.flink.master": self.flink.master,
                "beam.flink.job_server_jar": self.flink.job_server_jar,
            },
            "portable": {"beam.portable.job_endpoint": self.portable.job_endpoint},
        }.get(self.runner, {})
        for key, value in needed.items():
            if value is None:
                raise ValueError(f"{key} is missing, which beam.runner {self.runner} needs")
        if self.runner != "direct" and self.workers != 1:
            raise ValueError(
                "beam.workers is of the direct runner; set beam.flink.parallelism for flink, and "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _args_contradict_nothing(self) -> BeamConfig:
        names = [argument.split("=")[0].removeprefix("--") for argument in self.args]
        for name in names:
            # On Dataflow Beam starts the workers itself, from an image.
            if name == "sdk_container_image" and self.runner == "dataflow":
                continue
            if name in _SET_BY_KEYS:
                raise ValueError(f"beam.args: --{name} contradicts {_SET_BY_KEYS[name]}")
        if self.runner == "dataflow":
            for name in ("project", "region", "temp_location", "sdk_container_image"):
                if name not in names:
                    raise ValueError(f"beam.args: --{name}=… is missing, which dataflow needs")
        return self


# Argument of Beam -> the key that sets it.
_SET_BY_KEYS = {
    "runner": "beam.runner",
    "direct_num_workers": "beam.workers, which sets it",
    "direct_running_mode": "beam.workers, which sets it",
    "flink_master": "beam.flink.master",
    "flink_job_server_jar": "beam.flink.job_server_jar",
    "flink_submit_uber_jar": "beam.runner, which sets it for flink",
    "flink_version": "beam.flink.job_server_jar, which is of one version",
    "parallelism": "beam.flink.parallelism",
    "sdk_worker_parallelism": "beam.flink.workers_per_pool",
    "job_endpoint": "beam.portable.job_endpoint",
    "environment_type": "the worker_pool of beam.runner",
    "environment_config": "the worker_pool of beam.runner",
    "environment_option": "the worker_pool of beam.runner",
    "environment_options": "the worker_pool of beam.runner",
    "sdk_container_image": "the worker_pool of beam.runner, whose workers have the code",
    "save_main_session": "the workers, which have the code",
    "setup_file": "the workers, which have the code",
    "extra_package": "the workers, which have the code",
    "requirements_file": "the workers, which have the code",
    "job_name": "the name that a run gives its jobs to find them again",
}
