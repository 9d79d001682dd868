"""`python -m kubeflow.training_job.worker STAGING`: one worker of a training.

It runs the Trainer that the task has staged, together with the other workers. The first of them
leaves the model in the staging folder; the others train along and leave nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from components.errors import PipelineError, one_line
from kubeflow.container import log
from kubeflow.training_job.manifest import HOSTS_VARIABLE
from kubeflow.training_job.staging import Staging

Json = dict[str, Any]

TASK_FILE, OUTPUT_FILE = "task.json", "outputs/executor_output.json"
# Stands for the staging folder in the report, wherever a worker had it.
ROOT = "staging:/"
_PATIENCE = 600.0  # seconds for the other workers to appear in the name service


def run(place: str) -> None:
    """Trains.

    Args:
        place: path or URI of the staging folder.

    Raises:
        PipelineError: the other workers cannot be found.
    """
    index = join_cluster()
    staging = Staging(place)
    folder = staging.local()
    task = json.loads((folder / TASK_FILE).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="worker-") as scratch:
        outputs = Path(scratch)
        invocation = _localised(task["invocation"], folder, outputs)
        _execute(task["executor"], invocation, task["inputs_spec"], writes=index == 0)
        if index == 0:
            report = Path(invocation["outputs"]["outputFile"])
            text = report.read_text(encoding="utf-8").replace(str(outputs), ROOT)
            report.write_text(text, encoding="utf-8")
            staging.put(outputs / "outputs", "outputs")


def join_cluster() -> int:
    """Makes TF_CONFIG, where the operator has not; returns which worker this is.

    Raises:
        PipelineError: neither TF_CONFIG nor the variables of a TrainJob are there, or another
            worker's name does not appear within ten minutes.
    """
    if "TF_CONFIG" in os.environ:
        return int(json.loads(os.environ["TF_CONFIG"])["task"]["index"])
    hosts = [host for host in os.environ.get(HOSTS_VARIABLE, "").split(",") if host]
    index = os.environ.get("JOB_COMPLETION_INDEX", "")
    if not hosts or not index.isdigit() or int(index) >= len(hosts):
        raise PipelineError(
            f"this is no worker of a training: neither TF_CONFIG is set, nor {HOSTS_VARIABLE} and "
            "JOB_COMPLETION_INDEX, as in the pods of a TrainJob"
        )
    _wait_for(hosts)
    task = {"type": "worker", "index": int(index)}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
    return int(index)


def _wait_for(hosts: list[str]) -> None:
    """Until every name can be resolved: a pod's appears when it is ready to be scheduled."""
    end = time.monotonic() + _PATIENCE
    for host in hosts:
        while True:
            try:
                socket.getaddrinfo(host.rpartition(":")[0], None)
                break
            except socket.gaierror:
                if time.monotonic() > end:
                    raise PipelineError(
                        f"the worker {host} has not appeared within {_PATIENCE / 60:.0f} minutes; "
                        "is there room for all workers in the cluster?"
                    ) from None
                time.sleep(1.0)


def _localised(invocation: Json, folder: Path, outputs: Path) -> Json:
    """Inputs where the staging folder is, outputs where this worker writes.

    A path that is absolute stays as it is: that of an input in a data root.
    """
    for side, root in (("inputs", folder), ("outputs", outputs)):
        for found in invocation.get(side, {}).get("artifacts", {}).values():
            for artifact in found.get("artifacts", []):
                artifact["uri"] = str(root / artifact["uri"])
                if side == "outputs":
                    os.makedirs(artifact["uri"], exist_ok=True)
    invocation["outputs"]["outputFile"] = str(outputs / invocation["outputs"]["outputFile"])
    return invocation


def _execute(executor: str, invocation: Json, inputs_spec: Json, writes: bool) -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
    from tfx.utils import path_utils

    if not writes:
        # TFX looks whether there is a model; only the first worker's is meant.
        for artifact in invocation["outputs"]["artifacts"]["model"]["artifacts"]:
            os.makedirs(path_utils.serving_model_dir(artifact["uri"]), exist_ok=True)
    options = argparse.Namespace(
        executor_class_path=executor,
        json_serialized_invocation_args=json.dumps(invocation),
        json_serialized_inputs_spec_args=json.dumps(inputs_spec),
    )
    kubeflow_v2_run_executor.main((options, []))


def main() -> None:
    """Entry point."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    log.set_up()
    try:
        run(sys.argv[1])
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
