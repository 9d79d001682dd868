"""Everything a report shows, read from the artifacts of a run."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from components import versions
from components.errors import one_line
from components.evaluator import results
from components.evaluator.results import Evaluation
from components.trainer import exported
from models.exported import FACTS
from pipeline import component_ids as ids
from pipeline.edges import Edge
from pipeline.local import lineage
from pipeline.local.root import Root
from pipeline.report import curves, data, pictures
from pipeline.report.curves import Training
from pipeline.report.data import DataFacts
from pipeline.report.pictures import Pictures

LOGGER = logging.getLogger(__name__)

# Distributions whose versions explain a result, ours first.
_PACKAGES = ("vqvae-pipeline", *versions.RESULTS, "ml-metadata")

_Part = TypeVar("_Part")


# The state of a component of which no more is known than that it is done.
FINISHED = "finished"


@dataclasses.dataclass(frozen=True)
class Component:
    """How one component went, and where its outputs are (output name -> URI).

    Attributes:
        seconds: that it took; None where nobody has told.
    """

    name: str
    state: str
    seconds: float | None
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a run before its artifacts are read.

    Attributes:
        run: what `pipeline.dag.Run` held: data, serving, run_key …
        components: those that were reached, in order.
        edges: all of the pipeline's.
        error: the message of the component that failed, where the run recorded it.
        root: of a run on this machine.
        code: fingerprint of the pipeline's code.
        locate: where this process reads an output, by its URI.
    """

    name: str
    finished: datetime.datetime
    config: dict[str, Any]
    run: dict[str, Any]
    components: list[Component]
    edges: list[Edge] = dataclasses.field(default_factory=list)
    error: str = ""
    root: Root | None = None
    code: str = ""
    locate: Callable[[str], str] = str

    def component(self, name: str) -> Component | None:
        """The component of this id, if the run reached it."""
        return next((each for each in self.components if each.name == name), None)

    @property
    def failed(self) -> Component | None:
        """The component that stopped the run."""
        stopped = ("failed", "running")
        return next((each for each in self.components if each.state in stopped), None)

    @property
    def seconds(self) -> float | None:
        """Of the whole run; None where that is not known."""
        known = [each.seconds for each in self.components if each.seconds is not None]
        return sum(known) if known or not self.components else None


@dataclasses.dataclass(frozen=True)
class Collected(Record):
    """A run with its parts. A part that the run did not reach is None or empty."""

    evaluation: Evaluation | None = None
    # The release manifest; None where nothing was released.
    manifest: dict[str, Any] | None = None
    # model.json: image, code_shape, num_codes, num_classes, parameters.
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    trainings: list[Training] = dataclasses.field(default_factory=list)
    # How often each code occurs in the held-out split; int64 [K], of several codebooks [B·K].
    code_counts: np.ndarray | None = None
    pictures: Pictures | None = None
    data: DataFacts = dataclasses.field(default_factory=DataFacts)
    # package -> version, of the environment that built the report.
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    # URI -> id in ML Metadata.
    artifact_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    # What is there but could not be read, one line each.
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def num_codes(self) -> int | None:
        """K, of several codebooks B·K, where codes were counted."""
        return None if self.code_counts is None else len(self.code_counts)


def collect(record: Record) -> Collected:
    """Reads what the components of a run have left.

    A part that cannot be read becomes one of `problems` and leaves the others alone.
    """
    problems: list[str] = []

    def attempt(what: str, read: Callable[..., _Part], *where: str, otherwise: _Part) -> _Part:
        """Reads a part from the artifacts at `where`; a missing artifact is no problem."""
        if not all(where):
            return otherwise
        try:
            return read(*where)
        except Exception as error:  # a report of a damaged run is worth more than none
            problems.append(f"{what}: {one_line(error)}")
            LOGGER.info("%s", problems[-1], exc_info=True)
            return otherwise

    def uri(component: str, output: str) -> str:
        found = record.component(component)
        path = record.locate(found.outputs.get(output, "")) if found else ""
        return path if path and Path(path).is_dir() else ""

    examples, transformed = (
        uri(ids.EXAMPLE_GEN, "examples"),
        uri(ids.TRANSFORM, "transformed_examples"),
    )
    tokens, model = (
        uri(ids.TOKENIZER, "codes"),
        uri(ids.TRAINERS["prior"], "model"),
    )
    facts: dict[str, Any] = attempt("model", _read_model, model, otherwise={})
    return Collected(
        **vars(record),
        evaluation=attempt(
            "evaluation", results.read, uri(ids.EVALUATOR, "evaluation"), otherwise=None
        ),
        manifest=attempt(
            "release", _read_manifest, uri(ids.PUSHER, "pushed_model"), otherwise=None
        ),
        model=facts,
        trainings=[
            found
            for stage, trainer in ids.TRAINERS.items()
            if (
                found := attempt(
                    f"training of {stage}",
                    lambda logs, stage=stage: curves.read(logs, stage),
                    uri(trainer, "model_run"),
                    otherwise=None,
                )
            )
        ],
        code_counts=attempt(
            "codes",
            lambda path: data.count_codes(path, *_codebooks(record.config)),
            tokens,
            otherwise=None,
        ),
        pictures=attempt("pictures", pictures.read, uri(ids.REPORT, "report"), otherwise=None)
        or attempt(
            "pictures",
            lambda images, models: pictures.make(images, models, facts),
            transformed,
            model if facts else "",
            otherwise=None,
        ),
        data=DataFacts(
            ingested=attempt("ingestion", data.read_ingested, examples, otherwise=None),
            anomalies=attempt(
                "anomalies",
                data.read_anomalies,
                uri(ids.EXAMPLE_VALIDATOR, "anomalies"),
                otherwise=None,
            ),
            labels=attempt("labels", data.count_labels, transformed or tokens, otherwise={}),
            pixels=attempt("pixel statistics", data.read_pixels, transformed, otherwise=None),
        ),
        versions=_versions(record.code),
        artifact_ids=attempt("ML Metadata", lambda: _artifact_ids(record), otherwise={}),
        problems=problems,
    )


def _artifact_ids(record: Record) -> dict[str, int]:
    """URI as the record has it -> id, of what the metadata of a run on this machine knows."""
    if record.root is None or not record.root.metadata.is_file():
        return {}
    uris = {
        record.locate(each): each for part in record.components for each in part.outputs.values()
    }
    known = lineage.artifact_ids(str(record.root.plain().metadata), list(uris))
    return {uris[uri]: found for uri, found in known.items()}


def _codebooks(config: dict[str, Any]) -> tuple[int, int]:
    """The size of a codebook and how many there are; runs of before had one."""
    quantizer = config["model"]["quantizer"]
    return int(quantizer["num_codes"]), int(quantizer.get("depth", 1))


def _read_model(uri: str) -> dict[str, Any]:
    return json.loads((exported.release(uri) / FACTS).read_text(encoding="utf-8"))


def _read_manifest(uri: str) -> dict[str, Any] | None:
    path = Path(uri, "release.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _versions(code: str) -> dict[str, str]:
    found = {package: versions.library_version(package) for package in _PACKAGES}
    installed = {package: version for package, version in found.items() if version}
    return {"python": platform.python_version(), **installed, **({"code": code} if code else {})}
