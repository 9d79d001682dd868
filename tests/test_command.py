"""The program finds its own packages, whatever lies in PYTHONPATH and the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

VQVAE = Path(sys.executable).with_name("vqvae")


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A project of somebody else."""
    for name in ("models", "components", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')\n")
    (tmp_path / "pipeline.py").write_text("raise SystemExit('not ours')\n")
    return tmp_path


def run(*command: str | Path, cwd: Path, path: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize("path", ["/nowhere:{others}", ":"])
def test_vqvae_runs_our_packages(others, path):
    path = path.format(others=others)
    said = run(VQVAE, "run", "--config", "digits", "--data", "no", cwd=others, path=path)
    assert (said.stdout, said.stderr) == ("", "error: --data no: no such directory\n")


def test_python_m_pipeline_runs_our_packages(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    said = run(
        *(sys.executable, "-m", "pipeline", "run", "--data", "no"), cwd=tmp_path, path=str(ROOT)
    )
    assert (said.stdout, said.stderr) == ("", "error: --data no: no such directory\n")


def test_child_processes_find_them_too(others):
    """As Beam's workers are started."""
    code = (
        "import subprocess, sys, vqvae_command as command; "
        f"command._find_ours_first({str(ROOT)!r}); "
        "child = 'import models, pipeline; print(models.__file__, pipeline.__file__)'; "
        "subprocess.run([sys.executable, '-c', child], check=True, cwd='/')"
    )
    path = f"{others}{os.pathsep}{ROOT}"
    said = run(sys.executable, "-c", code, cwd=Path("/"), path=path)
    assert said.stdout.split() == [
        str(ROOT / name / "__init__.py") for name in ("models", "pipeline")
    ], said.stderr


def test_a_path_without_others_is_left_alone(tmp_path):
    code = (
        "import os, sys, vqvae_command as command; before = list(sys.path); "
        f"command._find_ours_first({str(ROOT)!r}); "
        "print(sys.path == before, os.environ['PYTHONPATH'])"
    )
    (tmp_path / "models").mkdir()  # without __init__.py: a package behind it is found
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    said = run(sys.executable, "-c", code, cwd=tmp_path, path=path)
    assert said.stdout.split() == ["True", path], said.stderr
