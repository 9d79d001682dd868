"""What the baseline artifact says: which release it holds, or why it holds none."""

from __future__ import annotations

import dataclasses
import json
import os

from tfx.dsl.io import fileio

from components.errors import PipelineError

FILE_NAME = "baseline.json"


@dataclasses.dataclass(frozen=True)
class BaselineInfo:
    """What there is of the last release.

    Attributes:
        version: the release to compare with; 0, with the reason, for none.
        reason: why there is none.
        copied: the release whose `evaluate` model the artifact holds, for a training that begins
            with its weights; 0 for none. It may be there although it cannot be compared with.
    """

    version: int
    reason: str = ""
    copied: int = 0


def write(model_uri: str, info: BaselineInfo) -> None:
    """Writes `baseline.json` into the artifact's folder."""
    with fileio.open(os.path.join(model_uri, FILE_NAME), "w") as file:
        file.write(json.dumps(dataclasses.asdict(info), indent=2) + "\n")


def read(model_uri: str) -> BaselineInfo:
    """Reads it back.

    Raises:
        PipelineError: the folder is not that of a baseline artifact.
    """
    path = os.path.join(model_uri, FILE_NAME)
    if not fileio.exists(path):
        raise PipelineError(f"{path} does not exist: the Baseline component has not written it")
    try:
        with fileio.open(path, "r") as file:
            values = json.loads(file.read())
        return BaselineInfo(int(values["version"]), str(values["reason"]), int(values["copied"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"{path} is damaged; run again without the cache") from error
