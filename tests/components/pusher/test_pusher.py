"""ReleasePusher in a real pipeline: Baseline, gate, release; and what it refuses."""

import json
import math
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common import importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import standard_artifacts

from components.baseline.component import Baseline
from components.errors import PipelineError
from components.evaluator.component import ReconstructionEvaluator
from components.evaluator.gate import GateConfig, Threshold
from components.pusher.component import ReleasePusher
from components.pusher.executor import Executor
from components.release_store import folder as folder_store
from components.release_store.check import differences
from components.release_store.store import plan
from tests.components.evaluator.judging import of_images
from tests.fixtures import tiny_release

GATE = GateConfig(thresholds={"nmse": Threshold(max=0.5, worse_by=0.0)})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folders of two candidates, the better and the worse, and of the data."""
    root = tmp_path_factory.mktemp("built")
    return {
        "fair": tiny_release.write_model(root / "fair", 6.0),
        "good": tiny_release.write_model(root / "good", 0.0),
        "poor": tiny_release.write_model(root / "poor", 40.0),
        "examples": tiny_release.write_examples(root / "examples"),
    }


def run_pipeline(root: Path, model: Path, examples: Path, run_key: str) -> dict:
    """Judges and releases `model`; returns the properties of its PushedModel."""
    serving = root / "serving"
    version, push_id = plan(serving, run_key)
    imported = importer.Importer(
        source_uri=str(model), artifact_type=standard_artifacts.Model
    ).with_id("Candidate")
    data = importer.Importer(
        source_uri=str(examples),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["eval"]', "span": 3},
        custom_properties={"input_fingerprint": "split:eval,num_files:1"},
    ).with_id("Data")
    baseline = Baseline(str(serving), tiny_release.SHAPE, version, "code")
    evaluator = ReconstructionEvaluator(
        examples=data.outputs["result"],
        model=imported.outputs["result"],
        gate=GATE,
        num_codes=tiny_release.NUM_CODES,
        kind=of_images(tiny_release.SHAPE),
        baseline_model=baseline.outputs["baseline_model"],
    )
    pusher = ReleasePusher(
        model=imported.outputs["result"],
        model_blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=data.outputs["result"],
        baseline_model=baseline.outputs["baseline_model"],
        serving_path=str(serving),
        config=json.dumps({"name": "tiny"}),
        run_key=run_key,
        push_id=push_id,
        baseline_version=version,
        code_version="code",
    )
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="tiny",
            pipeline_root=str(root / "pipeline"),
            components=[imported, data, baseline, evaluator, pusher],
            enable_cache=True,
            metadata_connection_config=connection,
            beam_pipeline_args=["--runner=DirectRunner"],
        )
    )
    return last_execution(connection, "ReleasePusher")


def last_execution(connection, node: str) -> dict:
    """State of a node's last execution and the custom properties of its one output."""
    with metadata.Metadata(connection) as handle:
        store = handle.store
        execution = max(
            (e for e in store.get_executions() if node in store_type(store, e)),
            key=lambda e: e.id,
        )
        events = store.get_events_by_execution_ids([execution.id])
        (output,) = {e.artifact_id for e in events if e.type == metadata_store_pb2.Event.OUTPUT}
        (artifact,) = store.get_artifacts_by_id([output])
    state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
    properties = {
        key: getattr(value, value.WhichOneof("value"))
        for key, value in artifact.custom_properties.items()
    }
    return {**properties, "state": state, "uri": artifact.uri, "execution": execution.id}


def store_type(store, execution) -> str:
    (kind,) = store.get_execution_types_by_id([execution.type_id])
    return kind.name


def visible(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first_run(built, tmp_path_factory):
    """The root after one run that released; tests copy nothing and change nothing."""
    root = tmp_path_factory.mktemp("run")
    pushed = run_pipeline(root, built["fair"], built["examples"], "fair")
    return root, pushed


def test_blessed_candidate_is_released(first_run):
    root, pushed = first_run
    assert pushed["pushed"] == 1
    assert pushed["pushed_version"] == "1"
    assert pushed["pushed_destination"] == str(root / "serving")
    release = folder_store.latest(root / "serving")
    assert differences(release) == []
    manifest = release.manifest
    assert json.loads(Path(pushed["uri"], "release.json").read_text()) == manifest
    assert manifest["codebook_sha256"] == "6.0"
    assert manifest["model"]["image"] == list(tiny_release.SHAPE)
    assert manifest["config"] == {"name": "tiny"}
    assert 0 < manifest["metrics"]["nmse"] < 0.5
    assert manifest["metrics"]["uniform_bits_per_code"] == 4.0
    assert manifest["data"] == {
        "fingerprint": "split:eval,num_files:1",
        "span": 3,
        "splits": ["eval"],
    }
    assert manifest["baseline"] == 0
    assert manifest["run_key"] == "fair"
    assert manifest["code_version"] == "code"
    lineage = manifest["lineage"]
    assert lineage["pipeline"] == "tiny"
    assert lineage["pipeline_run_id"]
    assert lineage["execution_id"] == str(pushed["execution"])
    assert {"model", "model_blessing", "evaluation", "examples"} <= set(lineage["artifacts"])
    assert all(artifact["id"] > 0 for artifact in lineage["artifacts"].values())


def test_released_models_answer_and_know_their_version(first_run):
    root, _ = first_run
    release = folder_store.latest(root / "serving")
    image = tf.zeros(tiny_release.SHAPE, tf.uint8)
    encode = tf.saved_model.load(str(release.encode)).signatures["serving_default"]
    encoded = encode(images=tf.stack([tf.io.encode_png(image)] * 2))
    assert encoded["release"].numpy().tolist() == [1, 1]
    decode = tf.saved_model.load(str(release.decode)).signatures["serving_default"]
    assert decode(codes=encoded["codes"])["images"].shape == (2, *tiny_release.SHAPE)
    sample = tf.saved_model.load(str(release.sample)).signatures["serving_default"]
    sampled = sample(labels=tf.constant([-1]), seed=tf.constant(0, tf.int64))
    assert sampled["images"].shape == (1, *tiny_release.SHAPE)
    assert "evaluate" in tf.saved_model.load(str(release.evaluate)).signatures


def test_repetition_is_served_from_cache_a_worse_is_refused_a_better_replaces(
    first_run, built, tmp_path
):
    first_root, _ = first_run
    # The same place, as paths are part of the cache key; other tests only read version 1.
    root = first_root
    before = visible(root / "serving")

    again = run_pipeline(root, built["fair"], built["examples"], "fair")
    assert again["state"] == "CACHED"
    assert visible(root / "serving") == before

    refused = run_pipeline(root, built["poor"], built["examples"], "poor")
    assert refused["state"] == "COMPLETE"
    assert refused["pushed"] == 0
    assert "pushed_version" not in refused
    assert visible(root / "serving") == before

    shutil.copytree(root, tmp_path / "copy")
    better = run_pipeline(tmp_path / "copy", built["good"], built["examples"], "good")
    assert better["pushed_version"] == "2"
    release = folder_store.latest(tmp_path / "copy/serving")
    assert release.version == 2
    assert release.manifest["baseline"] == 1
    assert release.manifest["codebook_sha256"] == "0.0"
    assert folder_store.get(tmp_path / "copy/serving", 1).version == 1


# The executor by itself


@pytest.fixture
def push(first_run, built, tmp_path):
    """Runs the executor on a copy of the good candidate, blessed and measured."""
    root, _ = first_run
    lineage = folder_store.get(root / "serving", 1).manifest["lineage"]["artifacts"]
    candidate = tmp_path / "candidate"
    shutil.copytree(built["good"], candidate)

    def artifact(kind, uri):
        made = kind()
        made.uri = str(uri)
        return made

    blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing")
    Path(blessing.uri).mkdir()
    blessing.set_int_custom_property("blessed", 1)
    inputs = {
        "model": [artifact(standard_artifacts.Model, candidate)],
        "model_blessing": [blessing],
        "evaluation": [artifact(standard_artifacts.ModelEvaluation, lineage["evaluation"]["uri"])],
        "examples": [artifact(standard_artifacts.Examples, built["examples"])],
    }

    def run(push_id="a", baseline_version=0, rollout="stable"):
        pushed = artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
        Path(pushed.uri).mkdir(exist_ok=True)
        properties = {
            "serving_path": str(tmp_path / "serving"),
            "config": "{}",
            "run_key": "",
            "push_id": push_id,
            "rollout": rollout,
            "baseline_version": baseline_version,
            "code_version": "code",
        }
        Executor().Do(inputs, {"pushed_model": [pushed]}, properties)
        return pushed

    run.inputs, run.candidate, run.store = inputs, candidate, tmp_path / "serving"
    return run


def test_push_that_was_released_before_it_was_recorded_is_not_repeated(push):
    assert push("a").get_string_custom_property("pushed_version") == "1"
    before = visible(push.store)
    again = push("a")
    assert again.get_int_custom_property("pushed") == 1
    assert again.get_string_custom_property("pushed_version") == "1"
    assert visible(push.store) == before
    assert push("b").get_string_custom_property("pushed_version") == "2"


def test_not_blessed_leaves_no_store_behind(push):
    push.inputs["model_blessing"][0].set_int_custom_property("blessed", 0)
    assert push().get_int_custom_property("pushed") == 0
    assert not push.store.exists()


def test_blessing_by_file_alone(push):
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = push.inputs["model_blessing"][0].uri
    push.inputs["model_blessing"] = [blessing]
    assert push().get_int_custom_property("pushed") == 0
    Path(blessing.uri, "BLESSED").touch()
    assert push().get_int_custom_property("pushed") == 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("release/decode", "nothing released: the decode model lacks .*saved_model.pb"),
        ("release/sample/variables", "nothing released: the sample model lacks .*index"),
        ("Format-Serving", "nothing released: the evaluate model lacks"),
        ("release/model.json", "nothing released: .*model.json is missing or damaged"),
    ],
)
def test_incomplete_candidate_is_not_released(push, part, message):
    path = push.candidate / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("{")
    with pytest.raises(PipelineError, match=message):
        push()
    assert not push.store.exists()


def test_manifest_is_json_everywhere(push, monkeypatch):
    """A metric without a value is null: JSON has no NaN."""
    from components.evaluator import results

    measured = results.read(push.inputs["evaluation"][0].uri)
    measured.metrics["psnr"] = math.nan
    monkeypatch.setattr(results, "read", lambda uri: measured)
    push()
    text = (push.store / "releases/1.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["metrics"]["psnr"] is None


def test_a_canary_leaves_the_stable_release(push):
    push("a", rollout="canary")  # the first of a store
    push("b", rollout="canary")
    served = folder_store.served(push.store)
    assert (served.stable, served.canary) == (1, 2)
    assert folder_store.latest(push.store).version == 1


def test_samples_of_the_trainer_are_released(push):
    push("a")
    (push.candidate / "release/samples.png").write_bytes(b"a picture")
    push("b")
    assert not (push.store / "releases/1.png").exists()
    assert (push.store / "releases/2.png").read_bytes() == b"a picture"
    assert differences(folder_store.get(push.store, 2)) == []


def test_names_of_labels_are_in_the_manifest(push):
    push("a")
    assert "label_names" not in folder_store.latest(push.store).manifest["data"]
    push.inputs["examples"][0].set_string_custom_property("label_names", '["dog", "cat"]')
    push("b")
    assert folder_store.latest(push.store).manifest["data"]["label_names"] == ["dog", "cat"]


@pytest.mark.parametrize(("asked", "recorded"), [(0, 0), (2, 2), (-1, 0)])
def test_baseline_that_was_asked_for_is_recorded(push, asked, recorded):
    """Without the artifact of what was compared, only a named version is known to be it."""
    push(baseline_version=asked)
    manifest = folder_store.latest(push.store).manifest
    assert manifest["baseline"] == recorded
    assert manifest["baseline_requested"] == asked
