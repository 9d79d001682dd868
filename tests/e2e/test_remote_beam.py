"""The data stages on workers in other processes, by the protocol that engines use.

One root is shared. A worker is killed in the middle of three components, and each time the run is
started again; what it has made in the end is held against the direct runner.

TensorFlow is imported late: once it is, commands that are started from here have lines of its own
on their standard error.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.fixtures.waiting import wait_until
from tests.fixtures.worker_pools import Pool, job_service, pool

pytestmark = pytest.mark.flink

QUICK = {
    "training.vqvae.steps": 40,
    "training.vqvae.evaluate_every": 40,
    "training.prior.steps": 10,
    "training.prior.evaluate_every": 10,
    "prior.layers": 1,
    "model.encoder.residual_blocks": 1,
    "model.quantizer.num_codes": 32,
    "gate.thresholds": "{nmse: {max: 0.999}}",
}
COMPARED = ("ImageExampleGen", "StatisticsGen", "Transform", "Tokenizer", "Evaluator")
PHOTOS = (
    "data.image={height: 64, width: 64, channels: 3}",
    "model.encoder={downsampling: 8, hidden_units: 16, residual_blocks: 1, residual_units: 8}",
    "gate.thresholds={nmse: {max: 100}}",
)
# In whose middle a worker is killed.
KILLED_IN = ("ImageExampleGen", "Transform", "Tokenizer")


class Engine(NamedTuple):
    """Two pools, and the job service that has both."""

    pools: tuple[Pool, Pool]
    endpoint: str

    @property
    def setting(self) -> str:
        return f"beam={{runner: portable, portable: {{job_endpoint: '{self.endpoint}'}}}}"

    def workers(self) -> list[int]:
        return [each for pool in self.pools for each in pool.workers()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def engine(folder) -> Iterator[Engine]:
    with (
        pool(folder / "a") as first,
        pool(folder / "b") as second,
        job_service(folder, first.address, second.address) as endpoint,
    ):
        yield Engine((first, second), endpoint)


@pytest.fixture(scope="module")
def data(digits_data, folder) -> Path:
    """The digits three times, in enough files for two workers to have some each."""
    import tensorflow as tf

    for split, files in {"train": 4, "eval": 2}.items():
        records = [
            record
            for file in sorted(Path(digits_data, split).glob("*.gz"))
            for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
        ]
        (folder / "data" / split).mkdir(parents=True)
        for index in range(files):
            path = folder / "data" / split / f"{index:05}.tfrecord.gz"
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                for record in (records * 3)[index::files]:
                    writer.write(record)
    return folder / "data"


def start(data: Path, root: Path, *settings: str) -> subprocess.Popen:
    options = [f"--set={key}={value}" for key, value in QUICK.items()]
    options += [f"--set={each}" for each in settings]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", f"--data={data}", f"--root={root}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Ended(NamedTuple):
    """A run that is over, and the folders that the component it was killed in had left."""

    status: int
    stdout: str
    stderr: str
    left: list[Path]


@pytest.fixture(scope="module")
def runs(engine, data, folder) -> dict[str, Ended]:
    """Component in whose middle a worker was killed -> the run; and `the last` run."""
    root, ended = folder / "root", {}
    for component in KILLED_IN:
        process = start(data, root, engine.setting)
        place = root / "pipeline" / component
        while process.poll() is None:
            if writing := [each for each in engine.workers() if writes_below(place, each)]:
                os.kill(writing[0], signal.SIGKILL)
                break
            time.sleep(0.001)
        stdout, stderr = process.communicate(timeout=600)
        left = [each for each in place.glob("[!.]*/*") if any(each.iterdir())]
        ended[component] = Ended(process.returncode, stdout, stderr, left)
    process = start(data, root, engine.setting)
    stdout, stderr = process.communicate(timeout=600)
    ended["the last"] = Ended(process.returncode, stdout, stderr, [])
    return ended


def writes_below(folder: Path, process: int) -> bool:
    """Whether a process has a file open there."""
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(descriptor.path).startswith(f"{folder}/"):
                    return True
    return False


@pytest.mark.parametrize("component", KILLED_IN)
def test_a_run_whose_worker_is_killed_ends_with_one_line(runs, component):
    run = runs[component]
    assert (run.status, run.stderr) == (
        1,
        f"error: {component}: a worker ended in the middle of its work, as one does that has no "
        "memory left; the log of `vqvae beam-worker` says how; run it again\n",
    )
    assert f"✘ {component}" in run.stdout
    assert run.left == []


def test_the_next_run_goes_on_to_a_release(runs, folder):
    run = runs["the last"]
    assert run.status == 0, run.stdout + run.stderr
    for component in ("ImageExampleGen", "StatisticsGen", "Transform", "Trainer-vqvae"):
        assert re.search(rf"✔ {component} +cached", run.stdout)
    assert "released version 1" in run.stdout


def test_both_pools_have_worked(runs, engine):
    for each in engine.pools:
        assert each.bundles() > 0, each.said()
        assert "was ended by SIGKILL" in engine.pools[0].said() + engine.pools[1].said()
    assert engine.workers() == []


@pytest.fixture(scope="module")
def photos(engine, folder) -> Path:
    """The root of a run over 2,000 photographs, of which both pools have done some."""
    from benchmarks.photos import Kind, write

    write(Kind(160, 120, "JPEG", 64), 2000, folder / "photos", held_out=10)
    root, before = folder / "root-of-photos", [each.bundles() for each in engine.pools]
    process = start(folder / "photos", root, engine.setting, *PHOTOS)
    stdout, stderr = process.communicate(timeout=1200)
    assert process.returncode == 0, stdout + stderr
    assert all(now.bundles() > then for now, then in zip(engine.pools, before, strict=True))
    return root


@pytest.mark.parametrize("images", ["digits", "photos"])
@pytest.mark.parametrize("component", COMPARED)
def test_a_component_makes_what_the_direct_runner_makes(
    request, folder, component, images, tmp_path
):
    from tests.fixtures import compared_runs

    request.getfixturevalue({"digits": "runs", "photos": "photos"}[images])
    root = folder / {"digits": "root", "photos": "root-of-photos"}[images]
    compared_runs.check(compared_runs.executions(root)[component], tmp_path)


def test_bulk_encoding_and_decoding_make_the_same_files(runs, engine, data, folder, tmp_path):
    def vqvae(*arguments: object) -> None:
        command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    before = [each.bundles() for each in engine.pools]
    for place, setting in (("remote", engine.setting), ("direct", "beam.runner=direct")):
        out, root = tmp_path / place, f"--root={folder / 'root'}"
        vqvae("encode", root, "--data", data, "--out", out / "codes", "--set", setting)
        vqvae("decode", root, "--data", out / "codes", "--out", out / "data", "--set", setting)
    files = sorted(p.relative_to(tmp_path / "direct") for p in tmp_path.glob("direct/*/*/*"))
    assert len(files) == 12
    for file in files:
        remote, direct = tmp_path / "remote" / file, tmp_path / "direct" / file
        if file.suffix == ".npz":
            with np.load(remote) as one, np.load(direct) as other:
                assert sorted(one) == sorted(other)
                for name in one:
                    np.testing.assert_array_equal(one[name], other[name])
        else:
            assert read(remote) == read(direct)
    assert all(now.bundles() > then for now, then in zip(engine.pools, before, strict=True))


def read(file: Path) -> list[bytes]:
    from components.record_files import read_records
    from tests.fixtures.compared_runs import example

    return [example(each) for each in read_records(str(file)).as_numpy_iterator()]


def test_sigterm_stops_the_job_and_its_workers(engine, data, tmp_path):
    process = start(data, tmp_path / "root", engine.setting)
    while process.poll() is None and len(engine.workers()) < 2:
        time.sleep(0.001)
    busy = engine.workers()
    process.terminate()
    stdout, stderr = process.communicate(timeout=600)
    assert (process.returncode, stderr) == (
        75,
        "error: ImageExampleGen: stopped by SIGTERM; run it again to complete it\n",
    )
    assert "ImageExampleGen: cancelled its job vqvae-imageexamplegen-" in stdout
    assert len(busy) == 2
    wait_until(lambda: not any(map(alive, busy)))
    assert not [*(tmp_path / "root/pipeline/ImageExampleGen/examples").glob("*/*")]


def alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False
