"""What Kubernetes is told of a training's workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import kubeflow
from components.errors import PipelineError
from kubeflow.compiler.compile import Places, compile_pipeline
from kubeflow.training_job.manifest import job_name
from pipeline.config import config as configuration
from pipeline.config.config import ConfigError
from tests.fixtures.training_jobs import IMAGE, job, program


def test_the_manifest_is_owned_by_the_tasks_pod(monkeypatch):
    manifest = program("pass", gpu_count=2, gpu_type="nvidia.com/gpu")
    (owner,) = manifest["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "trainer-pod", "uid-1")
    limits = manifest["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert limits == {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"}
    monkeypatch.delenv("KFP_POD_UID")
    assert "ownerReferences" not in program("pass")["metadata"]  # without uid it would be refused


def test_names_are_the_runs_own_and_short_enough():
    first = job_name("Trainer-vqvae", "a" * 36)
    assert first == job_name("Trainer-vqvae", "a" * 36)
    assert first != job_name("Trainer-vqvae", "b" * 36)
    assert first != job_name("Trainer-prior", "a" * 36)
    assert len(f"{job_name('Trainer-' + 'x' * 80, 'a')}-node-0-99") <= 63


def test_workers_have_no_sidecar_and_are_known_to_the_network_policy():
    """Istio's sidecar, as profiles have it, does not end, and so neither would the job."""
    folder = Path(kubeflow.__path__[0]) / "manifests"
    runtime = yaml.safe_load((folder / "training-runtime.yaml").read_text())
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    worker = program("pass", "tfjob")["spec"]["tfReplicaSpecs"]["Worker"]
    for template in (node["template"]["spec"]["template"], worker["template"]):
        labels = template["metadata"]["labels"]
        assert labels["sidecar.istio.io/inject"] == "false"
        assert labels["app.kubernetes.io/component"] == "training"


def test_an_unknown_field_is_refused_by_the_server(cluster):
    manifest = program("pass")
    manifest["spec"]["trainer"]["colour"] = "red"
    with pytest.raises(PipelineError, match=r"unknown field \.spec\.trainer\.colour"):
        job().run(manifest)


def test_what_a_trainjob_cannot_carry_is_refused():
    several = ("training.workers=2", "kubeflow.training_job.staging=/mnt/vqvae/work")
    places = Places(IMAGE, "s3://b/d", "s3://b/s", "s3://b/c")
    own = "kubeflow.components={Trainer-vqvae: {node_selector: {gpu: l4}}}"
    with pytest.raises(ConfigError, match=r"node_selector: .*TrainingRuntime vqvae-training"):
        compile_pipeline(configuration.load("digits", (*several, own)), places)
    with pytest.raises(ConfigError, match=r"set kubeflow\.training_job\.staging"):
        compile_pipeline(configuration.load("digits", several[:1]), places)
