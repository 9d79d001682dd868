"""The report: one file that needs nothing else, tells the truth, and survives a broken run."""

from __future__ import annotations

import datetime
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from components import features
from components.errors import PipelineError
from components.evaluator.results import Check, Evaluation
from models.metrics import METRICS
from pipeline import report
from pipeline.commands.report import report as report_command
from pipeline.local import run_lock
from pipeline.local.root import Root
from pipeline.report import graph, judgement, last_run
from pipeline.report.collect import Collected, Component, collect
from pipeline.report.pictures import write_png
from pipeline.report.render import render
from tests.fixtures.html_page import Page, assert_self_contained
from tests.fixtures.report_run import LABELS, NETWORK, RunOnDisk, write_run

SECTIONS = {
    "pipeline",
    "metrics",
    "bits",
    "codes",
    "reconstructions",
    "samples",
    "training",
    "data",
    "config",
    "versions",
    "lineage",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunOnDisk:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(made: RunOnDisk, tmp_path: Path) -> RunOnDisk:
    """A copy to break."""
    shutil.copytree(made.root, tmp_path / "run")
    copy = RunOnDisk(tmp_path / "run")
    copy.record()
    return copy


def evaluation(blessed: bool = True, baseline: bool = False) -> Evaluation:
    values = dict.fromkeys(METRICS, 3.0) | {"nmse": 0.031234, "code_usage": 0.984375}
    released = dict.fromkeys(METRICS, 3.0) | {"nmse": 0.025, "code_usage": 1.0}
    checks = [
        Check("nmse", "max", 0.04 if blessed else 0.02, 0.031234, None, blessed),
        Check("code_usage", "min", 0.95, 0.984375, None, True),
    ]
    return Evaluation(
        metrics=values,
        by_label=dict.fromkeys(range(LABELS), values),
        baseline=released if baseline else None,
        baseline_version=4 if baseline else 0,
        baseline_reason="" if baseline else "nothing has been released yet",
        checks=checks,
        blessed=blessed,
    )


def judged(state: str = "ran", **parts: object) -> Collected:
    """A run that went through, without its artifacts."""
    return Collected(
        name="tiny",
        root=Root(Path("/runs/tiny")),
        finished=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        run={},
        components=[Component(name, state, 1.0) for name in graph.PLACES],
        **{
            "config": {"name": "tiny"},
            "evaluation": evaluation(),
            "manifest": {"version": 5},
            **parts,
        },
    )


def test_a_run_is_shown_in_one_file_that_loads_nothing(made: RunOnDisk) -> None:
    path = report.build(made.root)

    assert path == made.root / "report" / "index.html"
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert_self_contained(page, text)
    assert page.ids >= SECTIONS
    assert "nan" not in {word for _, each in page.elements for word in each.get("d", "").split()}
    pictures = [each for tag, each in page.elements if tag == "img"]
    kinds = {each["alt"] for each in pictures}
    assert kinds >= {
        "original",
        "reconstruction",
        "sample",
        *(f"sample of label {n}" for n in range(LABELS)),
    }
    assert "Not everything could be read" not in page.text


def test_what_is_collected_is_what_the_artifacts_hold(made: RunOnDisk) -> None:
    found = collect(last_run.read(Root(made.root)))

    assert found.problems == []
    assert found.code_counts.tolist() == [30] * 4 + [0] * 4
    assert found.data.labels == {split: dict.fromkeys(range(3), 10) for split in ("train", "eval")}
    assert found.data.pixels.mean == pytest.approx([0.5], abs=0.05)
    assert found.data.pixels.variance == pytest.approx([1 / 12], abs=0.02)
    assert found.data.ingested.rejected == 2
    assert found.data.ingested.shown[0] == ("/data/train/a.tfrecord", 3, "empty record")
    assert found.data.anomalies == []
    vqvae, prior = found.trainings
    assert vqvae.curves["train/nmse"].steps.tolist() == list(range(10, 110, 10))
    assert prior.curves["held_out/bits_per_code"].last == pytest.approx(0.01)
    assert found.model["num_codes"] == NETWORK.model.quantizer.num_codes


def test_pictures_are_of_every_label_and_the_same_each_time(made: RunOnDisk) -> None:
    pictures, again = (
        collect(last_run.read(Root(made.root))).pictures,
        collect(last_run.read(Root(made.root))).pictures,
    )

    assert pictures.originals.shape == pictures.reconstructions.shape == (30, 8, 8, 1)
    assert set(pictures.labels.tolist()) == set(range(LABELS))
    assert [row.label for row in pictures.samples] == [features.NO_LABEL, *range(LABELS)]
    for row, same in zip(pictures.samples, again.samples, strict=True):
        np.testing.assert_array_equal(row.images, same.images)


def test_the_readme_picture_shows_pixels_enlarged(made: RunOnDisk, tmp_path: Path) -> None:
    pictures = collect(last_run.read(Root(made.root))).pictures
    path = write_png(pictures, tmp_path / "images" / "tiny.png", columns=5)

    with Image.open(path) as picture:
        image = np.asarray(picture)
    enlarged = pictures.originals[0].repeat(8, 0).repeat(8, 1)[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], enlarged.shape)
    assert (windows[:, 20] == enlarged).all(axis=(1, 2)).any()


def test_a_run_that_failed_says_where_and_why(run: RunOnDisk) -> None:
    components = [
        {"name": "ImageExampleGen", "state": "ran", "seconds": 2.0, "outputs": {}},
        {"name": "StatisticsGen", "state": "failed", "seconds": 1.0, "outputs": {}},
    ]
    run.record(components=components, error="the disk is full; make room")
    text = report.build(run.root).read_text(encoding="utf-8")
    page = Page(text)

    assert "Failed in StatisticsGen" in page.text
    assert "the disk is full; make room" in page.text
    assert page.ids >= SECTIONS
    assert_self_contained(page, text)


def test_hostile_text_stays_text(run: RunOnDisk) -> None:
    evil = "<script>alert(1)</script>\"'><img src=http://evil/x onerror=alert(2)>"
    run.record(
        config={"name": evil, evil: {evil: evil}},
        run={"data": evil, "run_key": evil},
        error=evil,
        components=[{"name": evil, "state": "failed", "seconds": 1, "outputs": {evil: evil}}],
    )
    text = report.build(run.root).read_text(encoding="utf-8")
    page = Page(text)

    assert_self_contained(page, text)
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert page.text.count("<script>alert(1)</script>") >= 5


def test_hostile_records_stay_text(run: RunOnDisk) -> None:
    rejected = run.artifact("ImageExampleGen", "examples") / "rejected"
    evil = "<svg onload=alert(1)>"
    for path in rejected.iterdir():
        path.write_text(path.read_text().replace("empty record", evil))
    text = report.build(run.root).read_text(encoding="utf-8")

    assert evil not in text
    assert evil in Page(text).text


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        (("Trainer-prior", "model", "release/model.json"), "model"),
        (("Trainer-prior", "model", "release/decode/saved_model.pb"), "pictures"),
        (("Tokenizer", "codes", "Split-eval/part-00000-of-00001.tfrecord"), "codes"),
        (("ImageExampleGen", "examples", "rejected/summary.json"), "ingestion"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_is_shown(
    run: RunOnDisk, broken: tuple[str, str, str], lost: str
) -> None:
    component, output, name = broken
    (run.artifact(component, output) / name).write_bytes(b"damaged")
    text = report.build(run.root).read_text(encoding="utf-8")
    page = Page(text)

    assert "Not everything could be read" in page.text
    assert f"{lost}: " in page.text
    assert page.ids >= SECTIONS
    assert "Learning rate" in page.text


def test_artifacts_that_were_deleted_are_no_error(run: RunOnDisk) -> None:
    shutil.rmtree(run.root / "pipeline")
    page = Page(report.build(run.root).read_text(encoding="utf-8"))
    assert page.ids >= SECTIONS


def test_without_a_run_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"holds no run yet; make one with `vqvae run --root"):
        report.build(tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("record", ["", "[]", '{"config": 1}', '{"config": {}, "components": {}}'])
def test_a_damaged_record_leaves_the_old_report(run: RunOnDisk, record: str) -> None:
    run.record(components=[])
    path = report.build(run.root)
    before = path.read_bytes()
    (run.root / "last_run.json").write_text(record)

    with pytest.raises(PipelineError, match=r"last_run\.json"):
        report.build(run.root)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("collected", "kind", "says"),
    [
        (judged(), "good", "Released version 5"),
        (judged("cached"), "same", "No change"),
        (judged(evaluation=evaluation(blessed=False), manifest=None), "bad", "Refused"),
        (judged(evaluation=None, manifest=None), "broken", "Not finished"),
        (judged(manifest=None), "broken", "nothing was released"),
    ],
)
def test_the_verdict_says_what_came_of_the_run(collected: Collected, kind: str, says: str) -> None:
    verdict = judgement.verdict(collected)
    assert verdict.kind == kind
    assert says in verdict.title
    assert verdict.title in Page(render(collected)).text


def test_a_refusal_names_the_metric_its_value_and_the_threshold() -> None:
    refused = judged(evaluation=evaluation(blessed=False), manifest=None)
    assert "NMSE 0.03123, allowed at most 0.02" in judgement.verdict(refused).detail


def test_the_page_of_a_canary_says_how_it_is_promoted() -> None:
    canary = judged(config={"name": "tiny", "release": {"rollout": "canary"}})
    assert "`vqvae releases promote 5`" in judgement.verdict(canary).detail
    assert "promote" not in judgement.verdict(judged()).detail


def test_metrics_stand_beside_the_last_release() -> None:
    found = judgement.metric_rows(judged(evaluation=evaluation(baseline=True)))
    rows = {row.name: row for row in found}

    assert (rows["NMSE"].value, rows["NMSE"].baseline) == ("0.03123", "0.02500")
    assert (rows["NMSE"].change, rows["NMSE"].better) == ("+24.94 %", False)
    assert rows["NMSE"].checks == [("at most 0.04", True)]
    assert rows["codes used"].value == "98.4 %"
    assert rows["PSNR"].change == "0.00 %"
    assert set(rows) == {judgement.METRICS[name][0] for name in METRICS}


def test_metrics_without_a_value_are_shown_as_such() -> None:
    values = dict.fromkeys(METRICS, math.nan) | {"psnr": math.inf}
    lost = Evaluation(values, {0: values}, values, 4, "", [], True)
    page = Page(render(judged(evaluation=lost)))
    assert not re.search(r"\bnan\b", page.text)
    assert "∞ dB" in page.text


def test_many_labels_and_codes_stay_readable() -> None:
    values = dict.fromkeys(METRICS, 0.5)
    many = Evaluation(values, dict.fromkeys(range(1000), values), None, 0, "none", [], True)
    text = render(judged(evaluation=many, code_counts=np.arange(8192)))

    assert "970 more are not shown" in Page(text).text
    assert len(text) < 1_000_000


def test_a_record_without_connections_is_drawn_too(run: RunOnDisk) -> None:
    page = Page(report.build(run.root).read_text(encoding="utf-8"))
    assert "Trainer-vqvae" in page.text


def test_the_command_builds_it_and_says_where_also_while_a_run_goes_on(
    run: RunOnDisk, capfd
) -> None:
    arguments = ["--root", str(run.root)]
    with run_lock.held(Root(run.root).lock):
        result = CliRunner().invoke(report_command, arguments, catch_exceptions=False)

    assert result.output == f"{run.root / 'report' / 'index.html'}\n"
    assert capfd.readouterr() == ("", "")


def test_naming_the_command_takes_no_tensorflow() -> None:
    code = "import sys, pipeline.commands.report; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
