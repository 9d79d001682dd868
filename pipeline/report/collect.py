"""Everything a report shows, read from the artifacts of the latest run."""

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
from components.errors import PipelineError, one_line
from components.evaluator import results
from components.evaluator.results import Evaluation
from components.trainer import exported
from models.exported import FACTS
from pipeline import component_ids as ids
from pipeline.code_fingerprint import code_fingerprint
from pipeline.dag import Edge
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


@dataclasses.dataclass(frozen=True)
class Component:
    """How one component went, and where its outputs are (output name -> URI)."""

    name: str
    state: str
    seconds: float
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Collected:
    """A run. A part that the run did not reach is None or empty."""

    name: str
    root: Root
    finished: datetime.datetime
    config: dict[str, Any]
    # What `pipeline.dag.Run` held: data, baseline_version, run_key …
    run: dict[str, Any]
    components: list[Component]
    # All of the pipeline's: component, one after it, whether data flows.
    edges: list[Edge] = dataclasses.field(default_factory=list)
    # The message of the component that failed, where the run recorded it.
    error: str = ""
    evaluation: Evaluation | None = None
    # The release manifest; None where nothing was released.
    manifest: dict[str, Any] | None = None
    # model.json: image, code_shape, num_codes, num_classes, parameters.
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    trainings: list[Training] = dataclasses.field(default_factory=list)
    # How often each of the K codes occurs in the held-out split; int64 [K].
    code_counts: np.ndarray | None = None
    pictures: Pictures | None = None
    data: DataFacts = dataclasses.field(default_factory=DataFacts)
    # package -> version, of the environment that built the report.
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    # URI -> id in ML Metadata.
    artifact_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    # What is there but could not be read, one line each.
    problems: list[str] = dataclasses.field(default_factory=list)

    def component(self, name: str) -> Component | None:
        """The component of this id, if the run reached it."""
        return next((each for each in self.components if each.name == name), None)

    @property
    def failed(self) -> Component | None:
        """The component that stopped the run."""
        stopped = ("failed", "running")
        return next((each for each in self.components if each.state in stopped), None)

    @property
    def seconds(self) -> float:
        return sum(component.seconds for component in self.components)

    @property
    def num_codes(self) -> int | None:
        """K, where codes were counted."""
        return None if self.code_counts is None else len(self.code_counts)


def collect(root: Root) -> Collected:
    """Reads the latest run of a root.

    A part that cannot be read becomes one of `problems` and leaves the others alone.

    Raises:
        PipelineError: the record of the run is damaged.
    """
    record, finished = _read_record(root.last_run)
    components = [
        Component(
            str(each.get("name", "?")),
            str(each.get("state", "?")),
            float(each.get("seconds") or 0.0),
            dict(each.get("outputs") or {}),
        )
        for each in record["components"]
    ]
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
        found = next((each for each in components if each.name == component), None)
        path = root.see(found.outputs.get(output, "")) if found else ""
        return path if path and Path(path).is_dir() else ""

    examples, transformed = (
        uri(ids.EXAMPLE_GEN, "examples"),
        uri(ids.TRANSFORM, "transformed_examples"),
    )
    # As ML Metadata knows them -> as the record has them.
    uris = {root.see(each): each for part in components for each in part.outputs.values()}
    tokens, model = (
        uri(ids.TOKENIZER, "codes"),
        uri(ids.TRAINERS["prior"], "model"),
    )
    facts: dict[str, Any] = attempt("model", _read_model, model, otherwise={})
    return Collected(
        name=str(record["config"].get("name", root.path.name)),
        root=root,
        finished=finished,
        config=record["config"],
        run=record.get("run") or {},
        components=components,
        edges=attempt(
            "connections",
            lambda: [Edge(*each) for each in record.get("edges") or []],
            otherwise=[],
        ),
        error=str(record.get("error") or ""),
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
            lambda path: data.count_codes(path, _num_codes(record["config"])),
            tokens,
            otherwise=None,
        ),
        pictures=attempt(
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
            labels=attempt("labels", data.count_labels, tokens or transformed, otherwise={}),
            pixels=attempt("pixel statistics", data.read_pixels, transformed, otherwise=None),
        ),
        versions=_versions(),
        artifact_ids=attempt(
            "ML Metadata",
            lambda path: {
                uris[uri]: found for uri, found in lineage.artifact_ids(path, list(uris)).items()
            },
            str(root.plain().metadata) if root.metadata.is_file() else "",
            otherwise={},
        ),
        problems=problems,
    )


def _read_record(path: Path) -> tuple[dict[str, Any], datetime.datetime]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        finished = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({error}); run again") from error
    if (
        not isinstance(record, dict)
        or not isinstance(record.get("config"), dict)
        or not isinstance(record.get("components"), list)
    ):
        raise PipelineError(f"{path} is not the record of a run; run again")
    return record, finished


def _num_codes(config: dict[str, Any]) -> int:
    return int(config["model"]["quantizer"]["num_codes"])


def _read_model(uri: str) -> dict[str, Any]:
    return json.loads((exported.release(uri) / FACTS).read_text(encoding="utf-8"))


def _read_manifest(uri: str) -> dict[str, Any] | None:
    path = Path(uri, "release.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _versions() -> dict[str, str]:
    found = {package: versions.library_version(package) for package in _PACKAGES}
    installed = {package: version for package, version in found.items() if version}
    return {"python": platform.python_version(), **installed, "code": code_fingerprint()}
