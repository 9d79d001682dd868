"""Payloads of artifacts in a data root: a volume that the tasks and Beam's workers mount alike.

The launcher then copies no data. What it has of an artifact is a pointer, one small file that
names the payload's folder; whoever reads the artifact resolves it here, and whoever makes one
writes to a folder of its own, which is pointed at when all of it is there:

    DATA_ROOT/payloads/RUN/COMPONENT/ATTEMPT/OUTPUT/

A folder is as old as its last use. `vqvae payloads prune` removes what is no longer used, and with
it what tries have left that were killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from components import durable_files
from components.errors import PipelineError, after
from kubeflow.container.artifact_uris import local_path

# Folder of the data root that holds all payloads, and nothing else.
FOLDER = "payloads"
# In the folder of the artifact.
POINTER = "payload.json"
_KEY = "payload"
_SCRATCH = ".scratch"


class Payloads:
    """The outputs of one try of a task; a context that leaves nothing of a try that fails.

    Args:
        root: the data root.
        component: id of the task's component.

    Raises:
        PipelineError: the volume is not there, or cannot be written.
    """

    def __init__(self, root: str, component: str):
        run = os.environ.get("KFP_RUN_ID")
        if not run:
            raise PipelineError("KFP_RUN_ID is not set: payloads are kept by the id of the run")
        if not os.path.isdir(root):
            raise PipelineError(
                f"kubeflow.data_root {root}: no such folder in this pod; mount its claim there"
            )
        self.folder = Path(root, FOLDER, run, component, uuid.uuid4().hex)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise PipelineError(
                f"kubeflow.data_root {root}: cannot be written ({error.strerror}); let the user of "
                "the pods (1000) write there"
            ) from error

    def __enter__(self) -> Payloads:
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if failure is not None:
            with after(failure, f"{self.folder} is left"):
                shutil.rmtree(self.folder)

    def output(self, name: str) -> str:
        """A new folder for the payload of an output."""
        folder = self.folder / name
        folder.mkdir()
        return str(folder)

    def scratch(self) -> str:
        """A folder that all see while the task runs, and that is gone when it has ended."""
        folder = self.folder / _SCRATCH
        folder.mkdir(exist_ok=True)
        return str(folder)

    def publish(self, places: Mapping[str, str]) -> None:
        """Points at the payloads, when all of them are on disk.

        Args:
            places: where the task has its artifacts -> their URIs.
        """
        shutil.rmtree(self.folder / _SCRATCH, ignore_errors=True)
        durable_files.sync_tree(self.folder)
        for payload in self.folder.iterdir():
            pointer = Path(local_path(places[str(payload)]), POINTER)
            pointer.write_text(json.dumps({_KEY: str(payload)}), encoding="utf-8")


def resolved(folder: str) -> str:
    """Where the payload of an artifact is: in its own folder, or where that points.

    What is pointed at counts as used now.

    Raises:
        PipelineError: the payload was removed, or its volume is not mounted here.
    """
    path = Path(folder, POINTER)
    if not path.is_file():
        return folder
    payload = str(json.loads(path.read_text(encoding="utf-8"))[_KEY])
    if not os.path.isdir(payload):
        raise PipelineError(
            f"{payload}, which an artifact points at, is not there: either kubeflow.data_root is "
            "not mounted in this pod, or `vqvae payloads prune` has removed it; then compile with "
            "--set runtime.cache=false, or Kubeflow's cache hands the artifact out again"
        )
    with contextlib.suppress(OSError):  # another's folder, which is young enough then
        os.utime(payload)
    return payload
