"""Where tasks keep payloads, as it is compiled, and which workers need it."""

from __future__ import annotations

import json

import pytest

from kubeflow.compiler.compile import compile_pipeline
from kubeflow.compiler.data_root import is_remote
from pipeline.config import config as configuration
from pipeline.config.config import ConfigError
from tests.fixtures.compiled import PLACES, container

DATA_ROOT = "kubeflow.data_root={claim: vqvae-data, path: /mnt/vqvae/data}"


def test_every_task_mounts_the_data_root_once():
    mounts = (
        "kubeflow.components={Trainer-vqvae: {volumes: [{claim: vqvae-work, path: /mnt/work}]}, "
        "Evaluator: {volumes: [{claim: vqvae-data, path: /mnt/vqvae/data}]}}"
    )
    compiled = compile_pipeline(configuration.load("digits", (DATA_ROOT, mounts)), PLACES)
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in compiled[0]["root"]["dag"]["tasks"]:
        arguments = container(compiled, name)["args"]
        assert arguments[arguments.index("--data-root") + 1] == "/mnt/vqvae/data"
        assert arguments[arguments.index("--component") + 1] == name
        mounted = [
            (each["constant"], each["mountPath"])
            for each in executors[f"{name}_executor"]["pvcMount"]
        ]
        assert mounted.count(("vqvae-data", "/mnt/vqvae/data")) == 1
        assert (("vqvae-work", "/mnt/work") in mounted) == (name == "Trainer-vqvae")


@pytest.mark.parametrize("backend", ["tfjob", "trainjob"])
def test_workers_of_a_tfjob_mount_the_data_root_too(backend):
    several = (
        "training.workers=2",
        f"kubeflow.training_job={{backend: {backend}, staging: /mnt/vqvae/data/staging}}",
    )
    compiled = compile_pipeline(configuration.load("digits", (DATA_ROOT, *several)), PLACES)
    arguments = container(compiled, "Trainer-prior")["args"]
    workers = json.loads(arguments[arguments.index("--training-job") + 1])
    mounted = [{"claim": "vqvae-data", "path": "/mnt/vqvae/data"}]
    # A TrainJob cannot carry volumes; its runtime has them.
    assert list(workers["pod"]["volumes"]) == (mounted if backend == "tfjob" else [])


def test_a_claim_that_would_be_mounted_twice_is_refused():
    config = configuration.load(
        "digits", (DATA_ROOT, "kubeflow.pods.volumes=[{claim: vqvae-data, path: /mnt/other}]")
    )
    with pytest.raises(ConfigError, match="a claim is mounted once, at one path"):
        compile_pipeline(config, PLACES)


@pytest.mark.parametrize(
    ("beam", "remote"),
    [
        ("{}", False),
        ("{workers: 2}", False),
        ("{runner: flink, flink: {master: 'flink:8081', job_server_jar: /opt/server.jar}}", True),
        ("{runner: portable, portable: {job_endpoint: 'jobs:8099'}}", True),
    ],
)
def test_workers_of_another_machine_need_a_data_root(beam, remote):
    config = configuration.load("digits", (f"beam={beam}",))
    assert is_remote(config) == remote
    if remote:
        with pytest.raises(
            ConfigError, match=r"set kubeflow\.data_root to \{claim, path\}"
        ) as caught:
            compile_pipeline(config, PLACES)
        assert "\n" not in str(caught.value)
    spec = compile_pipeline(configuration.load("digits", (f"beam={beam}", DATA_ROOT)), PLACES)[0]
    assert "--data-root" in container([spec], "Transform")["args"]
