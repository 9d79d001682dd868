"""The container's entrypoint: what it makes of the driver's message, and of the executor's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from components.errors import PipelineError
from kubeflow.container import executor_input, executor_output, overrides
from kubeflow.container.__main__ import main
from kubeflow.container.artifact_uris import ArtifactUris, local_path

SPEC = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}}


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    monkeypatch.setenv("VQVAE_MOUNT_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def invocation(mounts):
    return {
        "inputs": {
            "parameterValues": {"a": 1.0},
            "artifacts": {
                "model": {
                    "artifacts": [
                        {
                            "uri": "minio://b/in",
                            "type": {"instanceSchema": ""},
                            "metadata": {
                                "names": {"list": ["x", "y"]},
                                "facts": {"struct": {"k": 1.0}},
                                "store_session_info": "{}",
                                "display_name": "n",
                                "empty": None,
                            },
                        }
                    ]
                }
            },
        },
        "outputs": {
            "artifacts": {
                "out": {"artifacts": [{"name": "out", "uri": "gs://b/out", "type": {}}]},
                "executor-logs": {"artifacts": [{"uri": "gs://b/logs"}]},
            },
            "outputFile": str(mounts / "output.json"),
        },
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://b/k", "/gcs/b/k"),
        ("s3://b/k", "/s3/b/k"),
        ("minio://b/k", "/minio/b/k"),
        ("/tmp/kfp_outputs/x.json", "/tmp/kfp_outputs/x.json"),
    ],
)
def test_the_launchers_folders(uri, path, monkeypatch):
    monkeypatch.delenv("VQVAE_MOUNT_ROOT", raising=False)
    assert local_path(uri) == path


def test_a_store_the_launcher_does_not_copy_is_refused():
    with pytest.raises(PipelineError, match=r"azure://b/k: .*gs://, s3://, minio:// only"):
        local_path("azure://b/k")


def test_input_is_made_what_tfx_takes(invocation, mounts):
    prepared = executor_input.prepare(invocation, SPEC)
    (model,) = prepared["inputs"]["artifacts"]["model"]["artifacts"]
    assert model == {
        "name": "model-0",
        "uri": f"{mounts}/minio/b/in",
        "type": {"instanceSchema": "title: tfx.Model\n"},
        "metadata": {"names": ["x", "y"], "facts": {"k": 1.0}, "remote_uri": "minio://b/in"},
    }
    assert set(prepared["outputs"]["artifacts"]) == {"out"}
    assert (mounts / "gcs/b/out").is_dir()
    assert invocation["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == "minio://b/in"


def test_outputs_begin_empty_whatever_an_earlier_try_has_left(invocation, mounts):
    (mounts / "gcs/b/out/deep").mkdir(parents=True)
    (mounts / "gcs/b/out/deep/data").write_text("half")
    (mounts / "minio/b/in").mkdir(parents=True)
    (mounts / "minio/b/in/model").write_text("whole")
    executor_input.prepare(invocation, SPEC)
    assert list((mounts / "gcs/b/out").iterdir()) == []
    assert (mounts / "minio/b/in/model").read_text() == "whole"


def test_output_names_uris_again_and_has_no_nulls(invocation, mounts):
    prepared = executor_input.prepare(invocation, SPEC)
    uris = ArtifactUris(executor_input.places(invocation, prepared))
    path = mounts / "output.json"
    metadata = {
        "current_model": f"{mounts}/minio/b/in",
        "note": f"compared {mounts}/minio/b/in with none",
        "deep": {"list": [None, 1]},
        "nothing": None,
    }
    written = {"uri": f"{mounts}/gcs/b/out", "metadata": metadata}
    path.write_text(json.dumps({"artifacts": {"out": {"artifacts": [written]}}}))
    driver = {"artifacts": {"out": {"artifacts": [{"metadata": {"span": 3.0, "note": "old"}}]}}}
    executor_output.finish(str(path), invocation["outputs"], uris, driver)
    (artifact,) = json.loads(path.read_text())["artifacts"]["out"]["artifacts"]
    assert artifact["uri"] == "gs://b/out"
    assert artifact["metadata"] == {
        "span": 3.0,
        "current_model": "minio://b/in",
        "note": "compared minio://b/in with none",
        "deep": {"list": [1]},
    }


def test_a_page_is_shown_by_the_uri_of_its_file(invocation, mounts):
    (out,) = invocation["outputs"]["artifacts"]["out"]["artifacts"]
    out["type"] = {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}
    message = executor_input.prepare(invocation, SPEC)
    uris = ArtifactUris(executor_input.places(invocation, message))
    (prepared,) = message["outputs"]["artifacts"]["out"]["artifacts"]
    # TFX imports the class that it is told.
    assert prepared["type"] == {"instanceSchema": "title: pipeline.report.artifacts.HTML\n"}
    path = mounts / "output.json"
    written = {"uri": prepared["uri"], "metadata": {}}
    path.write_text(json.dumps({"artifacts": {"out": {"artifacts": [written]}}}))
    executor_output.finish(str(path), invocation["outputs"], uris, {})
    (artifact,) = json.loads(path.read_text())["artifacts"]["out"]["artifacts"]
    assert artifact["uri"] == "gs://b/out/index.html"


def test_overrides_reach_into_json_in_strings():
    inner = json.dumps({"stage": {"steps": 10, "seed": 1}})
    values = {"custom_config": json.dumps({"settings": inner}), "data": "s3://x", "steps": 500.0}
    message = {"inputs": {"parameterValues": values}}
    places = ["steps=custom_config/settings/stage/steps", "steps=top", "data=input_base"]
    overrides.fold(message, places)
    settings = json.loads(json.loads(values["custom_config"])["settings"])
    assert settings == {"stage": {"steps": 500, "seed": 1}}
    assert (values["top"], values["input_base"]) == (500, "s3://x")
    assert "steps" not in values
    assert "data" not in values


def test_an_override_without_a_place_is_an_error():
    message = {"inputs": {"parameterValues": {"custom_config": "{}", "steps": 5.0}}}
    with pytest.raises(PipelineError, match="this task has no 'settings' there"):
        overrides.fold(message, ["steps=custom_config/settings/steps"])


def test_a_failure_ends_with_one_line(invocation, monkeypatch, capsys):
    arguments = ["--executor_class_path=components.baseline.executor.Executor"]
    arguments += ["--component=Baseline"]
    invocation["outputs"]["artifacts"]["out"]["artifacts"][0]["uri"] = "azure://b/k"
    arguments += ["--json_serialized_invocation_args", json.dumps(invocation)]
    arguments += ["--json_serialized_inputs_spec_args", json.dumps(SPEC)]
    monkeypatch.setattr("sys.argv", ["kubeflow.container", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert str(stop.value).startswith("error: artifact azure://b/k: Kubeflow's launcher copies")
    assert "Traceback" in capsys.readouterr().err


def test_the_log_of_a_pod_has_the_progress_of_a_training():
    code = """
from components.trainer.progress import LOGGER, Meter
from kubeflow.container import log
from absl import logging
log.set_up()
logging.set_verbosity(logging.INFO)  # as TFX's entrypoint does
meter = Meter("vqvae", 0, 100, 32)
meter.report(1, {})
meter.report(50, {"nmse": "0.03"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "vqvae: step 50/100" in done.stderr
    assert "nmse 0.03" in done.stderr
