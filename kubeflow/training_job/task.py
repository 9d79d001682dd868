"""The Trainer's task where several workers train: it hands them its inputs and takes the model.

Workers have no launcher. What the launcher brought to the task's pod goes to a staging folder, and
what the first worker leaves there comes back to the task's outputs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from components.errors import PipelineError, said
from kubeflow.training_job import manifest, worker
from kubeflow.training_job.job import Job
from kubeflow.training_job.settings import TrainingJobSettings
from kubeflow.training_job.staging import Staging

Json = dict[str, Any]


def run(
    settings: TrainingJobSettings,
    component: str,
    executor_class: str,
    invocation: Json,
    inputs_spec: Json,
    job: Job | None = None,
    data_root: str | None = None,
) -> None:
    """Trains with several workers, as the executor would alone; leaves its output file.

    Args:
        settings: of the workers.
        component: id of the Trainer.
        executor_class: dotted path of the executor that every worker runs.
        invocation: the prepared ExecutorInput message as JSON, with local paths.
        inputs_spec: the task's ComponentInputsSpec as JSON.
        job: by default one of this pod's cluster.
        data_root: where payloads are; inputs there are read in place if the staging is there too.

    Raises:
        PipelineError: the job failed.
    """
    run_id = os.environ.get("KFP_RUN_ID")
    if not run_id:
        raise PipelineError("KFP_RUN_ID is not set: several workers need the id of the run")
    name = manifest.job_name(component, run_id)
    place = f"{settings.job.staging.rstrip('/')}/{name}"
    job = job or Job(settings.job.backend)
    staging = Staging(place)
    try:
        if not job.exists(name):  # one that goes on has its inputs
            staging.remove()
            in_place = data_root if data_root and _below(place, data_root) else None
            _stage(staging, executor_class, invocation, inputs_spec, in_place)
        command = ["python", "-m", "kubeflow.training_job.worker", place]
        job.run(manifest.build(settings, name, command), settings.pod.timeout)
        _collect(staging, invocation)
    finally:
        try:
            if not job.exists(name):  # one that is not ours has its staging here too
                staging.remove()
        except Exception as error:  # no answer: better left than taken from workers
            print(f"{place} may be left: {said(error)}", flush=True)


def _stage(
    staging: Staging,
    executor_class: str,
    invocation: Json,
    inputs_spec: Json,
    in_place: str | None,
) -> None:
    """Inputs under `inputs/`, and the task itself with every path relative to the folder.

    Inputs below `in_place`, which all workers mount at the same path, stay there.
    """
    message = json.loads(json.dumps(invocation))
    for name, artifact in _artifacts(message, "inputs"):
        if in_place and _below(artifact["uri"], in_place):
            continue
        staging.put(Path(artifact["uri"]), f"inputs/{name}")
        artifact["uri"] = f"inputs/{name}"
    for name, artifact in _artifacts(message, "outputs"):
        artifact["uri"] = f"outputs/{name}"
    message["outputs"]["outputFile"] = worker.OUTPUT_FILE
    task = {"executor": executor_class, "invocation": message, "inputs_spec": inputs_spec}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(task, file)
        file.flush()
        staging.put(Path(file.name), worker.TASK_FILE)


def _collect(staging: Staging, invocation: Json) -> None:
    """The model, and what the executor reported, to where the task's own would be."""
    found = staging.local()
    if not (found / worker.OUTPUT_FILE).is_file():
        raise PipelineError(f"the workers ended well, but left no model in {staging.place}")
    report = (found / worker.OUTPUT_FILE).read_text(encoding="utf-8")
    for name, artifact in _artifacts(invocation, "outputs"):
        made = found / "outputs" / name
        if made.is_dir():
            shutil.copytree(
                made, artifact["uri"], dirs_exist_ok=True, copy_function=shutil.copyfile
            )
        report = report.replace(f"{worker.ROOT}/outputs/{name}", artifact["uri"])
    Path(invocation["outputs"]["outputFile"]).write_text(report, encoding="utf-8")


def _below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _artifacts(message: Json, side: str) -> list[tuple[str, Json]]:
    return [
        (name, artifact)
        for name, found in message.get(side, {}).get("artifacts", {}).items()
        for artifact in found.get("artifacts", [])
    ]
