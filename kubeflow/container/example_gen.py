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
from tfx.components.example_gen import input_processor
from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver
from tfx.utils import proto_utils

from components.errors import PipelineError
from components.example_gen import layout
from components.object_store import Folder, is_remote
from kubeflow.container import executor_output

Json = dict[str, Any]


def drive(invocation: Json, inputs_spec: Json) -> Json:
    """Runs the driver; what it found goes into `invocation`.

    Args:
        invocation: the prepared ExecutorInput message as JSON; `input_base` in it may be a path,
            or a URI of an object store, with or without TFX's placeholders.
        inputs_spec: the task's ComponentInputsSpec as JSON.

    Returns:
        the driver's ExecutorOutput as JSON, for the metadata of the Examples.

    Raises:
        PipelineError: no data there, or in two layouts.
    """
    values = invocation["inputs"]["parameterValues"]
    data = values["input_base"]
    if is_remote(data):
        data = _staged(data)
    found = layout.input_config_for(data)
    values["input_base"] = found.input_base
    values["input_config"] = proto_utils.proto_to_json(found.input_config)
    values["output_config"] = proto_utils.proto_to_json(found.output_config)
    driver._run_driver(
        json_format.ParseDict(
            invocation, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
        ),
        json_format.ParseDict(
            inputs_spec, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True
        ),
    )
    return executor_output.read(invocation["outputs"]["outputFile"])


def _staged(uri: str) -> str:
    """A local copy of the data's span that TFX would read, in the same layout.

    Every file gets its name first, empty: TFX then says which span and version it would read,
    and only their files are fetched. Times of change are kept, as TFX's fingerprint has them.
    """
    base, separator, pattern = uri.partition("{")
    base, _, beginning = base.rpartition("/") if separator else (base, "", "")
    store = Folder(base)
    # Below a folder of the same name, so that an error about a file tells which it is.
    target = Path(tempfile.mkdtemp(prefix="data-"), base.replace("://", "/"))
    target.mkdir(parents=True)
    # Of a pattern only what it may name: the bucket may hold much else.
    folders = [name for name in store.names() if name.startswith(beginning)] if beginning else [""]
    changed = {
        path: when
        for folder in folders
        for path, when in store.find(folder).items()
        if layout.is_tfrecord(path)
    }
    for path in changed:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    local = os.path.join(target, beginning + separator + pattern) if separator else str(target)
    try:
        found = layout.input_config_for(local)
    except PipelineError as error:
        raise PipelineError(str(error).replace(str(target), base)) from None
    processor = input_processor.FileBasedInputProcessor(found.input_base, found.input_config.splits)
    span, version = processor.resolve_span_and_version()
    needed = [
        path
        for split in found.input_config.splits
        for path in Path(found.input_base).glob(
            processor.get_pattern_for_span_version(split.pattern, span, version)
        )
        if layout.is_tfrecord(path.name)
    ]
    store.download([path.relative_to(target).as_posix() for path in needed], target)
    for path in needed:
        when = changed[path.relative_to(target).as_posix()]
        os.utime(path, (when, when))
    return local
