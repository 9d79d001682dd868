"""One device, several devices and several processes train the same network."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT

STAGES = ["vqvae", "prior"]
# Of the exact comparisons: three checkpoints, of which two are kept.
STEPS = 30


def start(out: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.replica_program", str(out), *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors[-3000:]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(folder: Path, *arguments: str, count: int = 2) -> list[subprocess.Popen]:
    """Processes that train together; each writes `worker-N.npz`, and all share the checkpoints."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
    return [
        start(
            folder / f"worker-{index}.npz",
            *arguments,
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(count)
    ]


def workers(folder: Path, *arguments: str, count: int = 2) -> dict[str, np.ndarray]:
    """What the processes found that trained together."""
    finish(*start_workers(folder, *arguments, count=count))
    found = {}
    for index in range(count):
        found |= np.load(folder / f"worker-{index}.npz")
    return found


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> dict[str, np.ndarray]:
    """Steps in float64 on one and two devices, and on two workers."""
    folder = tmp_path_factory.mktemp("float64")
    finish(start(folder / "devices.npz", "float64", str(STEPS), "1", "2"))
    found = dict(np.load(folder / "devices.npz")) | workers(folder, "float64", str(STEPS))
    # One of two workers writes, and cleans up what is no longer kept.
    for stage in STAGES:
        kept = {path.name for path in (folder / f"{stage}-workers").glob("ckpt-*.index")}
        assert kept == {"ckpt-20.index", "ckpt-30.index"}
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict[str, np.ndarray]:
    """Steps in float64 on one and eight devices, and on three workers."""
    folder = tmp_path_factory.mktemp("many")
    finish(start(folder / "devices.npz", "float64", str(STEPS), "1", "8"))
    return dict(np.load(folder / "devices.npz")) | workers(folder, "float64", str(STEPS), count=3)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, np.ndarray]:
    """100 steps in float32 on one and two devices, and on two workers."""
    folder = tmp_path_factory.mktemp("float32")
    finish(start(folder / "devices.npz", "float32", "100", "1", "2"))
    return dict(np.load(folder / "devices.npz")) | workers(folder, "float32", "100")


def variables(found: dict[str, np.ndarray], stage: str, place: str, replica: int = 0):
    prefix = f"{stage}/{place}/{replica}/"
    return {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }


def assert_trained_as_one(found: dict[str, np.ndarray], stage: str, place: str) -> None:
    losses = found[f"{stage}/1/losses"]
    assert len(losses) == STEPS
    np.testing.assert_allclose(found[f"{stage}/{place}/losses"], losses, rtol=1e-8)
    expected = variables(found, stage, "1")
    assert expected
    for name, value in variables(found, stage, place).items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], rtol=1e-8, atol=1e-8 * scale)


def assert_identical(found: dict[str, np.ndarray], stage: str) -> None:
    """On the devices of a process, and on both workers."""
    pairs = [
        (variables(found, stage, "2", 0), variables(found, stage, "2", 1)),
        (variables(found, stage, "worker 0"), variables(found, stage, "worker 1")),
    ]
    for one, other in pairs:
        assert one
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("place", ["2", "worker 0"])
@pytest.mark.parametrize("stage", STAGES)
def test_several_train_as_one(exact, stage, place):
    assert_trained_as_one(exact, stage, place)


@pytest.mark.parametrize("stage", STAGES)
def test_replicas_are_bit_identical(exact, stage):
    assert_identical(exact, stage)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["8", "worker 0", "worker 2"])
@pytest.mark.parametrize("stage", STAGES)
def test_eight_devices_and_three_workers_train_as_one(many, stage, place):
    assert_trained_as_one(many, stage, place)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_replicas_stay_bit_identical_in_float32(usual, stage):
    assert_identical(usual, stage)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_in_float32_the_curve_is_the_same_to_rounding(usual, stage):
    one = usual[f"{stage}/1/losses"]
    for place in ("2", "worker 0"):
        several = usual[f"{stage}/{place}/losses"]
        difference = np.abs(several / one - 1.0)
        print(f"{stage}, {place}: at most {difference[:50].max():.1e} in the first 50 steps")
        assert difference[:50].max() < 1e-3
        np.testing.assert_allclose(several[-20:].mean(), one[-20:].mean(), rtol=0.1)


@pytest.mark.slow
def test_a_worker_that_dies_stops_the_other(tmp_path):
    survivor, victim = start_workers(tmp_path, "float32", "1000000")
    try:
        assert any("vqvae: step 3/" in line for line in survivor.stdout)
        victim.kill()
        _, errors = survivor.communicate(timeout=900)
    finally:
        for process in (survivor, victim):
            process.kill()
            process.communicate()
    assert survivor.returncode not in (None, 0)
    assert "PipelineError: vqvae: another worker of this training is gone" in errors


@pytest.mark.slow
def test_workers_that_are_preempted_stop_at_the_same_step(tmp_path):
    one, other = start_workers(tmp_path, "float32", "1000000")
    try:
        assert any("vqvae: step 3/" in line for line in one.stdout)
        other.terminate()  # only one of them is told
        errors = [process.communicate(timeout=900)[1] for process in (one, other)]
    finally:
        for process in (one, other):
            process.kill()
            process.communicate()
    steps = [
        re.search(r"Preempted: vqvae: stopped by SIGTERM at step ([\d,]+) of", e) for e in errors
    ]
    assert all(steps), errors[0][-1000:] + errors[1][-1000:]
    assert steps[0][1] == steps[1][1]
