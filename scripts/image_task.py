"""Prepares one task of the compiled pipeline for `scripts/image_check.sh`.

    python scripts/image_task.py FOLDER

FOLDER gets `data/`, the embedded digits, and `arguments`, the command of ImageExampleGen with
what the driver would fill in, each ended by a zero byte. In the container FOLDER is /task.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kubeflow.compiler.compile import Places, compile_pipeline
from pipeline.config import config
from pipeline.datasets.writer import write_dataset


def main() -> None:
    folder = Path(sys.argv[1])
    write_dataset("digits", folder / "data")
    image = "image@sha256:" + "0" * 64
    places = Places(image, "/task/data", "/task/serving", "/task/checkpoints")
    spec, _ = compile_pipeline(config.load("digits"), places)
    name = "ImageExampleGen"
    container = spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]
    component = spec["components"][name]
    constants = {
        key: source["runtimeValue"]["constant"]
        for key, source in spec["root"]["dag"]["tasks"][name]["inputs"]["parameters"].items()
        if "runtimeValue" in source
    }
    examples = {
        "name": "examples",
        "uri": "minio://check/examples",
        "type": component["outputDefinitions"]["artifacts"]["examples"]["artifactType"],
    }
    invocation = {
        "inputs": {"parameterValues": {**constants, "data": "/task/data"}},
        "outputs": {
            "artifacts": {"examples": {"artifacts": [examples]}},
            "outputFile": "/task/output.json",
        },
    }
    arguments = [*container["command"], *container["args"]]
    filled = [text.replace("{{$}}", json.dumps(invocation)) for text in arguments]
    (folder / "arguments").write_bytes(b"".join(text.encode() + b"\0" for text in filled))


if __name__ == "__main__":
    main()
