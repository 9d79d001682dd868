"""ExampleGen in a pod: the data is fetched, its layout looked at, its span and files recorded.

TFX compiles ExampleGen's driver into a hook that open-source Kubeflow never runs; without it
there is no span and no fingerprint. It is run here, before the executor.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.components.example_gen import driver
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components.errors import PipelineError
from components.example_gen import input_files, layout, spans
from components.example_gen.driver import Driver
from components.example_gen.file_names import is_tfrecord
from components.object_store.folder import Folder, is_remote

Json = dict[str, Any]


def drive(invocation: Json, scratch: str | None = None) -> Json:
    """Does what the driver does on a laptop; the files that it found go into `invocation`.

    Args:
        invocation: the prepared ExecutorInput message as JSON; `input_base` in it may be a path,
            or a URI of an object store, with or without TFX's placeholders.
        scratch: folder for a copy of the data, where others than this process read it too.

    Returns:
        the driver's ExecutorOutput as JSON, for the metadata of the Examples.

    Raises:
        PipelineError: no data there, or it is not clear which files are of which split.
    """
    values = invocation["inputs"]["parameterValues"]
    data = values["input_base"]
    if is_remote(data):
        data = _staged(data, scratch)
    found = layout.input_config_for(data)
    if found.left_out:
        print(f"data: {found.left_out}", flush=True)
    values["input_base"] = found.input_base
    values["input_config"] = proto_utils.proto_to_json(found.input_config)
    values["output_config"] = proto_utils.proto_to_json(found.output_config)
    resolved = Driver(None).resolve_exec_properties(dict(values))
    values["input_config"] = resolved["input_config"]
    return {"artifacts": {"examples": {"artifacts": [_examples(invocation, resolved)]}}}


def _examples(invocation: Json, resolved: dict[str, Any]) -> Json:
    """The output artifact with what TFX's driver records of the input, as the launcher has it."""
    message = json_format.ParseDict(
        invocation, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    names: dict[int, str] = {}
    outputs = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(message.outputs.artifacts, names)
    examples = artifact_utils.get_single_instance(outputs["examples"])
    driver.update_output_artifact(resolved, examples.mlmd_artifact)
    return json_format.MessageToDict(
        kubeflow_v2_entrypoint_utils.to_runtime_artifact(examples, names)
    )


def _staged(uri: str, scratch: str | None = None) -> str:
    """A local copy of the data's span that TFX would read, in the same layout.

    Every file gets its name first, empty: then it is clear which span and version is read, and
    only the files of these are fetched. Times of change are kept, for the fingerprint.
    """
    base, pattern = spans.split_at_placeholder(uri)
    store = Folder(base)
    # Below a folder of the same name, so that an error about a file tells which it is.
    target = Path(tempfile.mkdtemp(prefix="data-", dir=scratch), base.replace("://", "/"))
    target.mkdir(parents=True)
    # Of a pattern only what it may name: the bucket may hold much else.
    beginning = pattern.split("/")[0].partition("{")[0]
    folders = [name for name in store.names() if name.startswith(beginning)] if beginning else [""]
    changed = {
        path: when
        for folder in folders
        for path, when in store.find(folder).items()
        if is_tfrecord(path)
    }
    for path in changed:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    local = os.path.join(target, pattern) if pattern else str(target)
    try:
        found = layout.input_config_for(local)
    except PipelineError as error:
        raise PipelineError(str(error).replace(str(target), base)) from None
    needed = [
        os.path.relpath(path, target)
        for split in input_files.find(found.input_base, found.input_config.splits).splits
        for path in split.paths
    ]
    store.download(needed, target)
    for path in needed:
        when = round(changed[path] * 10**9)
        os.utime(target / path, ns=(when, when))
    return local
