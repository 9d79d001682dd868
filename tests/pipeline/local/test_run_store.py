"""`vqvae run` with its release store in an object store, as `release.path` names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.evaluator import results
from components.release_store import store as release_store
from components.trainer.exported import saved_models
from pipeline.commands.exit_status import RELEASED
from pipeline.commands.run import run_and_show
from pipeline.config import config as configuration
from pipeline.local import lineage
from pipeline.local.plan import plan_run
from pipeline.local.root import Root
from pipeline.local.runner import ComponentRun
from tests.fixtures.object_stores import s3_server

STORE = "s3://bucket/digits"
STORE_IS_THERE = (f"release.path={STORE}/",)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tfrecord").write_bytes(b"")
    with s3_server("bucket"):
        yield tmp_path


@pytest.fixture
def no_training(monkeypatch, tmp_path):
    """All components but the push; it is the one thing here that knows of the store."""
    model = str(tmp_path / "model")
    exported = saved_models(model)
    for folder in map(Path, exported.values()):
        (folder / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/variables.index"):
            (folder / name).write_text(name)
        (folder / "variables/variables.data-00000-of-00001").write_text("weights")

    def run_pipeline(config, run, root, observe):
        facts = {"run_key": run.run_key, "baseline_requested": run.baseline_version}
        manifest = release_store.publish(run.serving, exported, facts, run.push_id)
        pushed = root.path / "pushed"
        pushed.mkdir(parents=True, exist_ok=True)
        (pushed / "release.json").write_text(json.dumps(manifest))
        components = [
            ComponentRun("Trainer-prior", "ran", 1.0, {"model": model}),
            ComponentRun("Evaluator", "ran", 1.0, {"evaluation": "evaluation"}),
            ComponentRun("Pusher", "ran", 1.0, {"pushed_model": str(pushed)}),
        ]
        record = {
            "error": "",
            "config": config.model_dump(mode="json"),
            "run": {"serving": run.serving},
            "components": [],
        }
        root.last_run.write_text(json.dumps(record))
        return components

    monkeypatch.setattr("pipeline.local.plan.run_pipeline", run_pipeline)
    # A repetition finds what the run before has left; there is no ML Metadata to ask here.
    monkeypatch.setattr(lineage, "has_results_of_push", lambda metadata, push_id: True)
    judged = results.Evaluation({"nmse": 0.1}, {}, None, 0, "", [], True)
    monkeypatch.setattr(results, "read", lambda uri: judged)


def test_the_store_by_its_uri(place, no_training, capfd):
    arguments = ("digits", Path("data"), Path("root"), STORE_IS_THERE)
    assert run_and_show(*arguments, verbose=True) == RELEASED
    shown = capfd.readouterr().out.splitlines()
    assert "released version 1" in shown
    assert f"release  {STORE}" in shown
    assert release_store.served(STORE).stable == 1
    assert not [path for path in place.rglob("*") if path.name.startswith("s3:")]
    assert STORE in Path("root/report/index.html").read_text()
    # Once more: the same push, which releases once.
    assert run_and_show(*arguments, verbose=True) == RELEASED
    assert release_store.versions(STORE) == [1]


def test_another_run_is_compared_with_the_release_there(place, no_training):
    config = configuration.load("digits", STORE_IS_THERE)
    root = Root(place / "root")
    assert plan_run(config, "data", root).baseline_version == 0
    assert run_and_show("digits", Path("data"), root.path, STORE_IS_THERE, verbose=True) == RELEASED
    (place / "data/b.tfrecord").write_bytes(b"")
    run = plan_run(config, "data", root)
    assert run.serving == STORE
    assert run.baseline_version == 1
