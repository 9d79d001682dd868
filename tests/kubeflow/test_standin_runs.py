"""The compiled pipeline, task by task, to releases: first, with a baseline, with a new span."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.evaluator import results
from components.object_store.folder import Folder
from kubeflow.compiler.compile import Places, compile_pipeline, to_yaml
from kubeflow.container.verdict import find_verdict
from pipeline.config import config as configuration
from pipeline.config.pods import VolumeMount
from pipeline.local.plan import plan_run, run_pipeline
from pipeline.local.root import Root
from tests.fixtures.browser import assert_shown
from tests.fixtures.compiled import IMAGE
from tests.fixtures.html_page import Page, assert_self_contained, pictures
from tests.fixtures.local_metadata import CHANGING, metadata_of_local_run
from tests.fixtures.object_stores import CREDENTIALS, s3_server, upload
from tests.fixtures.standin import BACKEND_2_14, BACKEND_2_15, Cluster, RunRefused

pytestmark = pytest.mark.slow

QUICK = (
    "training.vqvae.steps=40",
    "training.vqvae.evaluate_every=40",
    "training.prior.steps=20",
    "training.prior.evaluate_every=20",
    "training.warm_start=last_release",
    "prior.layers=1",
    "model.encoder.residual_blocks=1",
    "model.quantizer.num_codes=16",
    "gate.thresholds={nmse: {max: 0.99, worse_by: 0.5}}",
)
CHECKPOINTS = "s3://models/checkpoints"


@pytest.fixture(scope="module")
def store():
    with s3_server("images", "models") as address:
        yield address


@pytest.fixture(scope="module")
def spans(digits_data, tmp_path_factory) -> Path:
    """The digits as two days' data: the second is the first with its splits exchanged."""
    root = tmp_path_factory.mktemp("spans")
    shutil.copytree(digits_data, root / "day-1")
    (root / "day-2").mkdir()
    shutil.copytree(root / "day-1" / "train", root / "day-2" / "eval")
    shutil.copytree(root / "day-1" / "eval", root / "day-2" / "train")
    return root


@pytest.fixture(scope="module")
def config():
    return configuration.load("digits", QUICK)


@pytest.fixture(scope="module")
def documents(config):
    places = Places(IMAGE, "s3://images/day-{SPAN}", "s3://models/digits", CHECKPOINTS)
    return compile_pipeline(config, places)


@pytest.fixture(scope="module")
def refused(runs, documents):
    """A run that the gate refuses, and the release store before it."""
    cluster, *_ = runs
    before = Folder("s3://models/digits").find()
    return cluster.run(documents, "minio://mlpipeline/v2", {"gate_nmse_max": 0.0001}), before


@pytest.fixture(scope="module")
def runs(documents, spans, store, tmp_path_factory):
    """Three runs of one pipeline: every kind of object store, both layouts of the output file."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    upload(spans / "day-1", "s3://images/day-1")
    first = cluster.run(documents, "minio://mlpipeline/v2", backend=BACKEND_2_14)
    second = cluster.run(documents, "s3://artifacts/v2", backend=BACKEND_2_15)
    upload(spans / "day-2", "s3://images/day-2")
    changed = {"vqvae_steps": 60, "gate_nmse_worse_by": 0.9}
    third = cluster.run(documents, "gs://artifacts/v2", changed, backend=BACKEND_2_15)
    return cluster, first, second, third


def manifest(version: int) -> dict:
    return json.loads(Folder("s3://models/digits").read(f"releases/{version}.json"))


def test_each_run_releases_and_says_so_in_its_last_line(runs):
    _, *three = runs
    for version, run in enumerate(three, start=1):
        assert run.warnings == []
        last = run.logs["Pusher"].splitlines()[-1]
        assert find_verdict(last).released == version
        assert manifest(version)["push_id"] == run.id
        assert manifest(version)["lineage"]["pipeline_run_id"] == run.id
    store = Folder("s3://models/digits")
    assert json.loads(store.read("releases/latest.json"))["version"] == 3
    assert "s3://models/digits/encode" in store.read("models.config").decode()


def test_baseline_and_warm_start_are_the_release_before(runs):
    assert [manifest(version)["baseline"] for version in (1, 2, 3)] == [0, 1, 2]
    for version, begun in enumerate(
        ("random weights: there is none yet", "release 1", "release 2")
    ):
        assert manifest(version + 1)["model"]["began_with"] == {"vqvae": begun, "prior": begun}
    cluster, _, second, _ = runs
    found = results.read(str(cluster.objects(second.outputs["Evaluator"]["evaluation"].uri)))
    assert found.baseline_version == 1
    assert found.baseline["nmse"] == pytest.approx(manifest(1)["metrics"]["nmse"])
    blessing = second.outputs["Evaluator"]["blessing"]
    assert blessing.metadata["blessed"] == 1.0


def test_a_new_span_is_found_and_recorded(runs):
    assert [manifest(version)["data"]["span"] for version in (1, 2, 3)] == [1, 1, 2]
    fingerprints = [manifest(version)["data"]["fingerprint"] for version in (1, 2, 3)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    _, first, _, third = runs
    examples = first.outputs["ImageExampleGen"]["examples"].metadata
    assert (examples["custom:span"], examples["num_records"]) == (1.0, 1797.0)
    assert third.outputs["ImageExampleGen"]["examples"].metadata["custom:span"] == 2.0


def test_runtime_parameters_reach_the_tasks_and_the_manifest(runs):
    trained = [manifest(version)["config"]["training"]["vqvae"]["steps"] for version in (2, 3)]
    assert trained == [40, 60]
    assert manifest(3)["config"]["gate"]["thresholds"]["nmse"] == {
        "min": None, "max": 0.99, "worse_by": 0.9,
    }  # fmt: skip
    cluster, _, _, third = runs
    found = results.read(str(cluster.objects(third.outputs["Evaluator"]["evaluation"].uri)))
    assert {check.rule: check.limit for check in found.checks} == {"max": 0.99, "worse_by": 0.9}


def test_nothing_that_reads_outside_its_artifacts_comes_from_the_cache(runs):
    _, *three = runs
    for run in three:
        assert run.cached == []


def test_artifacts_metadata_and_release_equal_those_of_a_local_run(
    runs, config, spans, tmp_path_factory
):
    root = Root(tmp_path_factory.mktemp("local"))
    data = spans.parent / "one-day"
    shutil.copytree(spans / "day-1", data / "day-1")
    plan = plan_run(config, str(data / "day-{SPAN}"), root)
    components = run_pipeline(config, plan, root, lambda component: None)
    theirs = {component.name: component.outputs for component in components}
    cluster, first, *_ = runs
    assert set(first.outputs) == set(theirs)
    for task, outputs in first.outputs.items():
        for name, artifact in outputs.items():
            here, there = cluster.objects(artifact.uri), Path(theirs[task][name])
            if artifact.type == "system.HTML":  # of whose folder Kubeflow has the page alone
                assert {here.name, "pictures.npz"} == files(there)
            else:
                assert files(here) == files(there), (task, name)
    examples = first.outputs["ImageExampleGen"]["examples"].uri
    for split in ("train", "eval"):
        assert digest(cluster.objects(examples) / f"Split-{split}") == digest(
            Path(theirs["ImageExampleGen"]["examples"]) / f"Split-{split}"
        )
    expected = metadata_of_local_run(root, theirs)
    for task, outputs in first.outputs.items():
        for name, artifact in outputs.items():
            found = {
                key.removeprefix("custom:"): value
                for key, value in artifact.metadata.items()
                if key not in CHANGING
            }
            if artifact.type == "system.Metrics":  # the local store keeps fewer digits
                found = pytest.approx(found)
            assert expected[task, name] == found, (task, name)
    with (Path(plan.serving) / "releases" / "1.json").open() as file:
        expected = json.load(file)
    released = manifest(1)
    for fact in ("metrics", "codebook_sha256", "baseline", "code_version"):
        assert released[fact] == expected[fact]
    assert set(released["files"]) == set(expected["files"])
    assert released["data"]["span"] == expected["data"]["span"]
    assert set(released) == set(expected)


def test_the_released_model_encodes(runs, tmp_path):
    store = Folder("s3://models/digits")
    store.download(list(store.find("encode/3")), tmp_path)
    encode = tf.saved_model.load(str(tmp_path / "encode" / "3")).signatures["pixels"]
    found = encode(images=tf.constant(np.zeros((2, 8, 8, 1), np.uint8)))
    assert int(found["release"][0]) == 3


def test_a_refused_candidate_leaves_the_store_alone_and_says_why(refused):
    run, before = refused
    verdict = find_verdict(run.logs["Pusher"].splitlines()[-1])
    assert verdict.released is None
    assert "nmse" in verdict.reason
    assert "at most 0.0001" in verdict.reason
    assert run.outputs["Pusher"]["pushed_model"].metadata["reason"] == verdict.reason
    assert Folder("s3://models/digits").find() == before


def test_the_page_of_every_run_is_one_object_that_shows_its_candidate(runs, refused):
    cluster, first, second, third = runs
    says = ["Released version 1", "Released version 2", "Released version 3", "Refused by the gate"]
    for run, title in zip((first, second, third, refused[0]), says, strict=True):
        report = run.outputs["Report"]["report"]
        # What Kubeflow's page opens: the type by its name, and one object, not a folder.
        assert report.type == "system.HTML"
        path = cluster.objects(report.uri)
        assert path.is_file()
        assert list(path.parent.iterdir()) == [path]
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert_self_contained(page, text)
        assert title in page.text
        shown = pictures(page)
        assert {*shown} == {
            *("original", "reconstruction", "sample"),
            *(f"sample of label {label}" for label in range(10)),
        }
        assert len(shown["original"]) == len(shown["reconstruction"]) == 40
        # Pictures of something: not of one colour.
        assert all(picture.std() > 0 for found in shown.values() for picture in found)
        assert "Not everything could be read" not in page.text
        # Of the run, not of its pods.
        assert "minio://" in page.text or "s3://" in page.text
        assert "/tmp/" not in page.text
    assert (
        "steps: 60" in Page(cluster.objects(third.outputs["Report"]["report"].uri).read_text()).text
    )


def test_a_browser_shows_the_page_of_a_released_and_of_a_refused_run(runs, refused, tmp_path):
    cluster, first, *_ = runs
    for run, title in ((first, "Released version 1"), (refused[0], "Refused by the gate")):
        page = cluster.objects(run.outputs["Report"]["report"].uri)
        assert_shown(page, tmp_path / run.id, title)


def test_the_numbers_of_every_run_are_listed_with_what_came_of_it(runs, refused):
    _, *three = runs
    for version, run in enumerate(three, start=1):
        metrics = run.outputs["Report"]["metrics"]
        assert metrics.type == "system.Metrics"
        assert metrics.metadata["verdict"] == f"Released version {version}"
        assert metrics.metadata["released_version"] == version
        measured = manifest(version)["metrics"]
        assert {name: metrics.metadata[name] for name in measured} == pytest.approx(measured)
    metadata = refused[0].outputs["Report"]["metrics"].metadata
    assert metadata["verdict"] == "Refused by the gate"
    assert "allowed at most 0.0001" in metadata["reason"]
    assert "released_version" not in metadata
    assert metadata["nmse"] > 0.0001


def test_with_a_data_root_the_launcher_copies_pointers_and_the_release_is_the_same(
    runs, config, tmp_path
):
    cluster, first, *_ = runs
    volume = tmp_path / "volume"
    volume.mkdir()
    root = VolumeMount(claim="vqvae-data", path=str(volume))
    kubeflow = config.kubeflow.model_copy(update={"data_root": root})
    places = Places(IMAGE, "s3://images/day-1", "s3://models/shared/digits", CHECKPOINTS)
    compiled = compile_pipeline(config.model_copy(update={"kubeflow": kubeflow}), places)
    run = cluster.run(compiled, "minio://mlpipeline/v2")
    assert run.warnings == []
    page = cluster.objects(run.outputs["Report"]["report"].uri)
    assert "Released version 1" in page.read_text(encoding="utf-8")
    artifacts = [(task, name) for task in run.outputs for name in run.outputs[task]]
    # Of all there is to copy, the page alone is not a few bytes for an artifact, made or read.
    copied = run.copied - page.stat().st_size
    assert copied < 1000 * 3 * len(artifacts) < first.copied / 100
    for task, name in artifacts:
        folder = cluster.objects(run.outputs[task][name].uri)
        if task != "Report":
            assert files(folder) == {"payload.json"}, (task, name)
    payloads = {path.relative_to(volume).parts[:3] for path in volume.glob("payloads/*/*")}
    assert payloads == {("payloads", run.id, task) for task in run.outputs}
    assert not list(volume.rglob(".scratch"))
    shared = json.loads(Folder("s3://models/shared/digits").read("releases/1.json"))
    other = manifest(1)
    for fact in ("codebook_sha256", "baseline", "code_version"):
        assert shared[fact] == other[fact]
    assert shared["metrics"] == pytest.approx(other["metrics"])
    assert shared["data"]["splits"] == other["data"]["splits"]
    assert set(shared["files"]) == set(other["files"])
    # Of artifacts that others can find.
    assert shared["lineage"]["artifacts"]["model"]["uri"].startswith("minio://mlpipeline/v2/")


def test_credentials_are_nowhere(runs, documents):
    _, *three = runs
    texts = [to_yaml(documents), *(log for run in three for log in run.logs.values())]
    texts += [json.dumps(manifest(version)) for version in (1, 2, 3)]
    texts += [json.dumps(a.metadata) for r in three for t in r.outputs.values() for a in t.values()]
    for secret in CREDENTIALS.values():
        assert not any(secret in text for text in texts)


def test_a_run_with_an_unknown_parameter_is_refused(runs, documents):
    cluster, *_ = runs
    with pytest.raises(RunRefused):
        cluster.run(documents, "minio://mlpipeline/v2", {"stepz": 3})


def files(folder: Path) -> set[str]:
    """Names in a folder, without the parts of them that TFX and TFMA make up anew."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "events.out" not in name}


def digest(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*"))]
