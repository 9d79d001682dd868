"""`make gpu-check`, where there is no GPU."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import BOUNDS, differences, report
from benchmarks.gpu_training import SMALL

COMMAND = [sys.executable, "-m", "benchmarks.gpu_check"]


@pytest.mark.slow
def test_it_holds_the_cpu_against_itself():
    done = subprocess.run([*COMMAND, "--cpu", "--small"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in BOUNDS:
        assert f"| {name} | 0 |" in done.stdout
    for stage in ("vqvae", "prior"):
        for kind in ("float32", "bfloat16"):
            assert f"| {stage} {kind} | " in done.stdout


def test_a_machine_without_a_gpu_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    monkeypatch.setattr(gpu_check.tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(SystemExit, match=r"TensorFlow finds no GPU here.*--cpu"):
        gpu_check.main()


def test_what_is_beyond_its_bound_is_marked():
    names = ("vqvae losses", "prior losses", "codes", "images", "log prob")
    one = {name: np.ones(1000) for name in names}
    other = {**one, "codes": np.arange(1000) // 998}
    found = differences(one, other, {"difference": np.array(0.0)})
    text = report(found, {"sampling": np.array([5.0, np.nan, 1.5])}, SMALL)
    assert "| codes that differ | 1 | 0.001 | ✘ |" in text
    assert text.count("✔") == len(BOUNDS) - 1
    assert "| sampling | 5 |  | 1.50 |" in text
