"""The one DAG as a pipeline that open-source Kubeflow Pipelines runs.

TFX compiles for Vertex AI. What is added and mended here: defaults of the runtime parameters,
resources and retries of every task, no caching of what reads or writes outside its artifacts, the
types that Kubeflow's pages show, our container's command, and the platform document with the pods'
settings.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

import yaml

from components.object_store.folder import is_remote
from components.release_store.release import LATEST
from kubeflow.compiler import backends, data_root, lint, pods, runtime_parameters
from kubeflow.container import system_types
from kubeflow.training_job.settings import for_component
from pipeline import component_ids
from pipeline.config.config import Config, ConfigError

Json = dict[str, Any]

COMMAND = ("python", "-m", "kubeflow.container")
_IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
# Replaced by the driver, or by `kubeflow.container`, with the id of the run.
_RUN_ID = "{{$.pipeline_job_uuid}}"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the pipeline of one cluster reads and writes.

    Attributes:
        image: the container image by its digest.
        data: URI or mounted path of the image TFRecords.
        serving: URI or mounted path of the release store.
        checkpoints: URI or mounted path of the training checkpoints.
        pipeline_root: URI of the artifacts; empty: the cluster's own default.
    """

    image: str
    data: str
    serving: str
    checkpoints: str
    pipeline_root: str = ""


def compile_pipeline(config: Config, places: Places, backend: str = backends.NEWEST) -> list[Json]:
    """The PipelineSpec and the platform document.

    Args:
        config: what to do.
        places: where.
        backend: version of Kubeflow Pipelines, one of `backends.BACKENDS`.

    Raises:
        ConfigError: a place that no pod, or no worker of Beam's, could use.
        PipelineError: the result breaks a rule of the backend.
    """
    _check(config, places)
    data_root.check(config)
    spec = _compiled_by_tfx(config, places)
    version = backends.parse(backend)
    executors, root = spec["deploymentSpec"]["executors"], config.kubeflow.data_root
    platform = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        label = spec["components"][name]["executorLabel"]
        for made in spec["components"][name]["outputDefinitions"]["artifacts"].values():
            made["artifactType"] = system_types.in_spec(made["artifactType"])
        pod = config.kubeflow.pod(name)
        workers = for_component(config, name, places.image)
        container = executors[label].get("container")
        if container is None:  # an importer has no pod
            continue
        # A hook of Vertex AI's that the backend never runs.
        container.pop("lifecycle", None)
        container["args"] += ["--component", name]
        if root:
            container["args"] += ["--data-root", root.path]
            pod = data_root.mounted(pod, root)
        if workers:
            if root and workers.job.backend == "tfjob":  # a TrainJob's volumes are the runtime's
                seen = {"pod": data_root.mounted(workers.pod, root)}
                workers = workers.model_copy(update=seen)
            container["args"] += ["--training-job", workers.model_dump_json()]
            pod = pod.model_copy(update={"gpu_count": 0})  # the GPUs are the workers'
        container["resources"] = pods.resources(pod)
        if pod.env:
            container["env"] = [{"name": k, "value": v} for k, v in sorted(pod.env.items())]
        task["retryPolicy"] = pods.retry_policy(pod)
        task["cachingOptions"] = {"enableCache": True} if _cacheable(name, config) else {}
        platform[label] = pods.platform(pod, version)
    runtime_parameters.add(spec, runtime_parameters.runtime_parameters(config, places.data))
    if places.pipeline_root:
        spec["defaultPipelineRoot"] = places.pipeline_root
    documents = [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}]
    lint.check(documents, version)
    return documents


def to_yaml(documents: list[Json]) -> str:
    """The file that the backend takes, the same for equal pipelines."""
    return yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=100)


def _cacheable(name: str, config: Config) -> bool:
    """Whether a component's result depends on its artifacts, settings and image alone.

    The backend's cache key has the image, by its digest, and with it the versions of all libraries;
    and the ids of the input artifacts, so that what follows on one made anew runs again. It does
    not look at files of the user and at the release store: from a cache, what reads or writes them
    would be of another day.
    """
    return config.runtime.cache and name not in component_ids.OUTSIDE


def _check(config: Config, places: Places) -> None:
    if not _IMAGE.fullmatch(places.image):
        raise ConfigError(
            f"--image {places.image}: must name a digest, REF@sha256:<64 hexadecimal digits>; "
            "behind a tag the image may change between two tasks of a run"
        )
    for name in ("data", "serving", "checkpoints", "pipeline_root"):
        place = getattr(places, name)
        option = "--" + name.replace("_", "-")
        if name == "pipeline_root" and (not place or is_remote(place)):
            continue
        if name == "pipeline_root" or not (is_remote(place) or os.path.isabs(place)):
            kinds = "gs://, s3:// or minio://"
            also = "" if name == "pipeline_root" else ", or the absolute path of a mounted volume"
            raise ConfigError(f"{option} {place or '(empty)'}: must be a URI ({kinds}){also}")
        if re.search(r"://[^/]*@", place):
            raise ConfigError(
                f"{option}: the URI holds credentials; remove them and name a secret under "
                "kubeflow.pods.secret_env"
            )
    if config.data.schema_path and not is_remote(config.data.schema_path):
        raise ConfigError(
            f"data.schema_path {config.data.schema_path}: a pod imports the schema by URI "
            "(gs://, s3:// or minio://); upload it and name it there"
        )


def _compiled_by_tfx(config: Config, places: Places) -> Json:
    # TFX takes seconds to import.
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from pipeline.dag import Run, create_pipeline

    run = Run(
        data=places.data,
        pipeline_root=places.pipeline_root or "minio://default",
        checkpoints=places.checkpoints,
        serving=places.serving,
        run_key="",
        baseline_version=LATEST,
        push_id=_RUN_ID,
        data_at_hand=False,
    )
    settings = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=places.image,
        default_commands=list(COMMAND),
        use_pipeline_spec_2_1=True,
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(settings)
    return runner.run(create_pipeline(config, run), write_out=False)["pipelineSpec"]
