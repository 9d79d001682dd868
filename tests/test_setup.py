"""What brings the environment up, and what is packed for remote workers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("components", "configs", "kubeflow", "models", "pipeline")


def _checkout(place: Path) -> Path:
    """What set-up and packaging read, copied so that they may write beside it."""
    for name in (
        *("Makefile", "pyproject.toml", "requirements.lock", "requirements-gpu.lock", "setup.py"),
        "vqvae_command.py",
    ):
        shutil.copy(ROOT / name, place)
    for name in ("scripts", *PACKAGES):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, place / name, ignore=ignored)
    return place


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


# --- set-up -------------------------------------------------------------------------------------


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True)
    targets = re.findall(r"^ *make (\S+) +\S", listed.stdout, re.MULTILINE)
    expected = [
        *("run", "test", "test-slow", "test-flink", "bench", "gpu-check"),
        *("lint", "lock", "image-check", "clean"),
    ]
    assert targets == expected


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        (
            {"uname": "echo Darwin arm64"},
            "this is Darwin arm64; the environment is built for Linux",
        ),
        ({"uname": "echo Linux aarch64"}, "this is Linux aarch64"),
        ({"old": "echo 3.10.13"}, "old is 3.10.13. Name one: make PYTHON="),
        ({}, "no Python under the name old"),
        (
            {
                "old": "case $2 in *version_info*) echo 3.12.1;; *executable*) echo $0;; "
                "*) echo 0;; esac"
            },
            "this system has no glibc",
        ),
    ],
)
def test_unsupported_systems_get_one_line(tmp_path: Path, programs, said) -> None:
    checkout = _checkout(tmp_path)
    for name, script in programs.items():
        _program(tmp_path / "bin", name, script)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [checkout / "scripts" / "setup.sh"],
        env={"PATH": path, "HOME": str(tmp_path), "PYTHON": "old"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_cuda_comes_where_it_is_asked_for(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    known = "*version_info*) echo 3.12.1;; *executable*) echo $0;; *) echo 2.39;;"
    _program(tmp_path / "bin", "fake", f"case $2 in {known} esac")
    _program(tmp_path / "bin", "uv", 'echo "$@" >> $HOME/log; [ $1 != venv ] || mkdir -p .venv')
    usual = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        **{"HOME": str(tmp_path), "PYTHON": "fake"},
    }
    installed = []
    for gpu in ("0", "1"):
        environment = {**usual, "GPU": gpu}
        subprocess.run([checkout / "scripts" / "setup.sh"], env=environment, check=True)
        log = (tmp_path / "log").read_text()
        installed.append(re.findall(r"pip sync .* --require-hashes (.*)", log)[-1])
    assert installed == ["requirements.lock", "requirements.lock requirements-gpu.lock"]


@pytest.mark.slow
def test_interrupted_set_up_is_completed_by_the_next(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    for seconds in (3, 8, 12, 16):
        process = subprocess.Popen([checkout / "scripts" / "setup.sh"], start_new_session=True)
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([checkout / "scripts" / "setup.sh"], check=True)
    # Every file of every package is there in full, and the command line answers.
    check = """
import importlib.metadata as metadata
for package in metadata.distributions():
    for file in package.files:
        assert file.size in (None, file.locate().stat().st_size), file
"""
    subprocess.run([checkout / ".venv/bin/python", "-c", check], check=True)
    quiet = subprocess.run([checkout / "scripts" / "setup.sh"], capture_output=True, check=True)
    assert quiet.stdout + quiet.stderr == b""


# --- dependencies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "extra"), [("requirements.lock", "dev"), ("requirements-gpu.lock", "gpu")]
)
def test_lock_has_hashes_no_address_and_every_dependency(name: str, extra: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
    pins = re.split(r"\n(?=\S)", lock)
    assert all("--hash=sha256:" in pin for pin in pins if "==" in pin.splitlines()[0])
    locked = {re.match(r"[\w.-]+", pin)[0] for pin in pins if "==" in pin.splitlines()[0]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"][extra]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= locked


# --- packing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sdist", "bdist_wheel"])
def test_package_holds_every_file_of_ours(tmp_path: Path, kind: str) -> None:
    """`sdist` is what Beam runs for --setup_file, the wheel what `pip install .` builds."""
    (tmp_path / "checkout").mkdir()
    checkout = _checkout(tmp_path / "checkout")
    subprocess.run(
        [sys.executable, "setup.py", "-q", kind, "--dist-dir", tmp_path / "dist"],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (archive,) = (tmp_path / "dist").iterdir()
    if kind == "sdist":
        with tarfile.open(archive) as tar:
            packed = {name.partition("/")[2] for name in tar.getnames()}
    else:
        packed = set(zipfile.ZipFile(archive).namelist())
    ours = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= packed, f"not packed: {sorted(ours - packed)}"


def test_setup_and_pyproject_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = subprocess.run(
        [sys.executable, "setup.py", "-q", "--name", "--version"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.split()[-2:] == [project["name"], project["version"]]
