"""The report as a component: a page and numbers, of what the other components have left."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.evaluator import results
from components.evaluator.results import Check, Evaluation
from models.metrics import METRICS
from pipeline import report
from pipeline.report import pictures
from pipeline.report.artifacts import HTML, PAGE, Metrics
from pipeline.report.component import ReportSpec
from pipeline.report.executor import INPUTS, Executor
from tests.fixtures.html_page import Page, assert_self_contained
from tests.fixtures.html_page import pictures as shown
from tests.fixtures.report_run import RunOnDisk, write_run

EDGES = [
    ("ImageExampleGen", "Transform", True),
    ("DataGate", "Transform", False),
    ("Trainer-prior", "Evaluator", True),
    ("Evaluator", "Pusher", True),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunOnDisk:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def made(run, tmp_path, monkeypatch):
    """Runs the component on the run; returns the page's folder and the metrics."""

    def make(blessed: bool, **values: float) -> tuple[Path, dict[str, str | float]]:
        metrics = dict.fromkeys(METRICS, 2.0) | values
        checks = [Check("nmse", "max", 3.0 if blessed else 0.1, 2.0, None, blessed)]
        evaluation = Evaluation(metrics, {}, None, 0, "there is none yet", checks, blessed)
        # TFMA's own files are read in the tests of the Evaluator.
        monkeypatch.setattr(results, "read", lambda uri: evaluation)
        places = {name: run.artifact(*made) for name, made in INPUTS.items()}
        places["pushed_model"] = tmp_path / "pushed"
        places["evaluation"] = tmp_path
        if blessed:
            places["pushed_model"].mkdir()
            (places["pushed_model"] / "release.json").write_text(json.dumps({"version": 4}))
        inputs = {}
        for name, parameter in ReportSpec.INPUTS.items():
            artifact = parameter.type()
            artifact.uri = str(places[name])
            inputs[name] = [artifact]
        page, numbers = HTML(), Metrics()
        page.uri, numbers.uri = str(tmp_path / "page"), str(tmp_path / "numbers")
        config = json.loads((run.root / "last_run.json").read_text())["config"]
        properties = {
            **dict.fromkeys(ReportSpec.PARAMETERS, ""),
            "config": json.dumps(config),
            "edges": json.dumps(EDGES),
            "data_path": "s3://images/day-7",
        }
        Executor().Do(inputs, {"report": [page], "metrics": [numbers]}, properties)
        found = numbers.mlmd_artifact.custom_properties.items()
        return tmp_path / "page", {
            name: getattr(value, value.WhichOneof("value")) for name, value in found
        }

    return make


def test_a_released_candidate(made):
    folder, metrics = made(True)
    text = (folder / PAGE).read_text(encoding="utf-8")
    page = Page(text)
    assert_self_contained(page, text)
    assert "Released version 4" in page.text
    assert "s3://images/day-7" in page.text
    assert {"original", "reconstruction", "sample"} <= {*shown(page)}
    assert "Not everything could be read" not in page.text
    assert metrics["verdict"] == "Released version 4"
    assert metrics["released_version"] == 4.0
    assert {name: metrics[name] for name in METRICS} == dict.fromkeys(METRICS, 2.0)


def test_a_refused_candidate_is_shown_too(made):
    folder, metrics = made(False)  # the Pusher has left nothing, not even a folder
    page = Page((folder / PAGE).read_text(encoding="utf-8"))
    assert "Refused by the gate" in page.text
    assert {"original", "reconstruction", "sample"} <= {*shown(page)}
    assert metrics["verdict"] == "Refused by the gate"
    assert "NMSE 2.000, allowed at most 0.1" in metrics["reason"]
    assert "released_version" not in metrics


def test_a_metric_without_a_value_is_left_out(made):
    _, metrics = made(False, psnr=math.inf, bits_per_dim=math.nan)
    assert {*METRICS} - {*metrics} == {"psnr", "bits_per_dim"}


def test_no_times_are_made_up(made):
    folder, _ = made(True)
    page = Page((folder / PAGE).read_text(encoding="utf-8"))
    assert "finished, or taken from the cache" in page.text
    assert "run time" not in page.text
    assert not any(attributes.get("class") == "meter" for _, attributes in page.elements)


def test_a_page_that_is_built_later_shows_the_same_pictures(made, run, monkeypatch):
    folder, _ = made(True)
    before = pictures.read(str(folder))
    record = json.loads((run.root / "last_run.json").read_text())
    outputs = {"report": str(folder)}
    reported = {"name": "Report", "state": "ran", "seconds": 2.0, "outputs": outputs}
    run.record(components=[*record["components"], reported])
    monkeypatch.setattr(pictures, "make", None)  # not drawn again
    page = Page(report.build(run.root).read_text(encoding="utf-8"))
    assert "Not everything could be read" not in page.text
    later = shown(page)
    assert len(later["original"]) == len(before.originals)
    for picture, pixels in zip(later["reconstruction"], before.reconstructions, strict=True):
        factor = picture.shape[0] // pixels.shape[0]
        np.testing.assert_array_equal(picture[::factor, ::factor], pixels[..., 0])


def test_the_inputs_are_those_that_the_page_is_made_of():
    assert ReportSpec.INPUTS.keys() == INPUTS.keys()
    assert ReportSpec.INPUTS["model"].type is standard_artifacts.Model
