"""A whole run on Kubeflow with a data root, whose data stages run on workers of two pools.

The workers see the data root and nothing of a pod or of the object stores, where the machine lets
their folder be hidden from them.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from components.object_store.folder import Folder
from kubeflow.compiler.compile import Places, compile_pipeline
from kubeflow.container.verdict import find_verdict
from pipeline.config import config as configuration
from tests.fixtures.browser import assert_shown
from tests.fixtures.compiled import IMAGE
from tests.fixtures.object_stores import s3_server, upload
from tests.fixtures.standin import Cluster, Run
from tests.fixtures.waiting import wait_until
from tests.fixtures.worker_pools import Pool, can_mount, hiding, job_service, pool

pytestmark = pytest.mark.flink

QUICK = (
    "training.vqvae.steps=40",
    "training.vqvae.evaluate_every=40",
    "training.prior.steps=20",
    "training.prior.evaluate_every=20",
    "prior.layers=1",
    "model.encoder.residual_blocks=1",
    "model.quantizer.num_codes=16",
    "gate.thresholds={nmse: {max: 0.99}}",
)
PLACES = Places(IMAGE, "s3://images/digits", "s3://models/digits", "s3://models/checkpoints")
ON_BEAM = ("ImageExampleGen", "StatisticsGen", "Transform", "Tokenizer", "Evaluator")


class Remote(NamedTuple):
    """A run that is over, its cluster, the data root and the pools, which still are there."""

    run: Run
    cluster: Cluster
    elsewhere: Path
    volume: Path
    pools: tuple[Pool, Pool]


@pytest.fixture(scope="module")
def data(digits_data, tmp_path_factory) -> Path:
    """The digits in enough files for two workers to have some each."""
    folder = tmp_path_factory.mktemp("files")
    for split, files in {"train": 4, "eval": 2}.items():
        records = [
            record
            for file in sorted(Path(digits_data, split).glob("*.gz"))
            for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
        ]
        (folder / split).mkdir()
        for index in range(files):
            path = folder / split / f"{index:05}.tfrecord.gz"
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                for record in records[index::files]:
                    writer.write(record)
    return folder


@pytest.fixture(scope="module")
def remote(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    volume, elsewhere = folder / "volume", folder / "elsewhere"
    for each in (volume, elsewhere / "pods"):
        each.mkdir(parents=True)
    within = hiding(elsewhere) if can_mount() else []
    with (
        pool(folder / "a", within=within) as first,
        pool(folder / "b", within=within) as second,
        job_service(folder, first.address, second.address) as endpoint,
        # After the workers, who have no credentials of it.
        s3_server("images", "models"),
        pytest.MonkeyPatch.context() as patch,
    ):
        upload(data, "s3://images/digits")
        config = configuration.load(
            "digits",
            (
                *QUICK,
                f"beam={{runner: portable, portable: {{job_endpoint: '{endpoint}'}}}}",
                f"kubeflow.data_root={{claim: vqvae-work, path: {volume}}}",
            ),
        )
        cluster = Cluster(elsewhere / "stores")
        patch.setattr(tempfile, "tempdir", str(elsewhere / "pods"))
        run = cluster.run(compile_pipeline(config, PLACES), "minio://mlpipeline/v2")
        yield Remote(run, cluster, elsewhere, volume, (first, second))


def test_it_releases_a_model_that_encodes(remote, tmp_path):
    assert remote.run.warnings == []
    assert find_verdict(remote.run.logs["Pusher"].splitlines()[-1]).released == 1
    store = Folder("s3://models/digits")
    manifest = json.loads(store.read("releases/1.json"))
    assert manifest["lineage"]["pipeline_run_id"] == remote.run.id
    assert remote.run.outputs["ImageExampleGen"]["examples"].metadata["num_records"] == 1797
    store.download(list(store.find("encode/1")), tmp_path)
    encode = tf.saved_model.load(str(tmp_path / "encode" / "1")).signatures["pixels"]
    found = encode(images=tf.constant(np.zeros((2, 8, 8, 1), np.uint8)))
    assert int(found["release"][0]) == 1


def page(remote: Remote) -> Path:
    """What Kubeflow opens."""
    return remote.cluster.objects(remote.run.outputs["Report"]["report"].uri)


def test_a_browser_shows_the_page_that_the_launcher_has_copied(remote, tmp_path):
    assert_shown(page(remote), tmp_path, "Released version 1")


@pytest.mark.parametrize("component", ON_BEAM)
def test_workers_of_both_pools_have_run_a_stage(remote, component):
    for each in remote.pools:
        assert each.bundles(f"vqvae-{component.lower()}-") > 0, each.said()


def test_the_workers_do_not_see_what_is_in_a_pod(remote):
    if not can_mount():
        pytest.skip("no process may have mounts of its own here: the workers saw the pods' files")
    assert {each.name for each in remote.elsewhere.iterdir()} == {"pods", "stores"}
    for each in remote.pools:
        assert os.listdir(f"/proc/{each.process.pid}/root{remote.elsewhere}") == []


def test_no_worker_is_left_and_nothing_failed_in_one(remote):
    for each in remote.pools:
        wait_until(lambda each=each: not each.workers())
        assert each.warnings() == []


def test_the_launcher_copies_pointers_and_the_page(remote):
    run, volume = remote.run, remote.volume
    artifacts = [(task, name) for task in run.outputs for name in run.outputs[task]]
    assert run.copied - page(remote).stat().st_size < 1000 * 3 * len(artifacts)
    for task, name in artifacts:
        if task != "Report":
            folder = remote.cluster.objects(run.outputs[task][name].uri)
            assert [each.name for each in folder.iterdir()] == ["payload.json"], (task, name)
    payloads = {path.relative_to(volume).parts[:3] for path in volume.glob("payloads/*/*")}
    assert payloads == {("payloads", run.id, task) for task in run.outputs}


def test_of_the_copied_data_nothing_is_left(remote):
    assert not list(remote.volume.rglob(".scratch"))
    assert not list((remote.elsewhere / "pods").iterdir())
