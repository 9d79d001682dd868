"""One run at a time in a root: the second is told who has it, and touches nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from components.errors import PipelineError
from pipeline.local import run_lock
from pipeline.local.root import Root

HOLDER = """
import sys
from pathlib import Path
from pipeline.local import run_lock

with run_lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path) -> Root:
    """One in which somebody runs."""
    root = Root(tmp_path / "a root")
    root.log.parent.mkdir(parents=True)
    root.log.write_text("the first run's log")
    root.last_run.write_text("the first run's record")
    return root


@pytest.fixture
def holder(root):
    """The process that does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root.lock), "--set", "a=b c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def contents(root: Root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.path.rglob("*") if path.is_file()}


def vqvae(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_second_run_is_told_who_runs_and_touches_nothing(root, holder):
    before = contents(root)
    second = vqvae("run", "--root", str(root.path))
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert second.stderr.startswith(f"error: {root.path} is in use by process {holder.pid} ")
    assert f"on {socket.gethostname()}, since 2" in second.stderr
    assert "--set 'a=b c'; wait until it ends" in second.stderr
    assert contents(root) == before


def test_nor_may_a_training_share_its_folder(root, holder, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    before = contents(root)
    second = vqvae("train", "vqvae", "--data", str(tmp_path), "--out", str(root.path))
    assert second.returncode == 1
    assert f"is in use by process {holder.pid}" in second.stderr
    assert contents(root) == before


def test_workers_of_one_training_share_a_folder(root, holder, tmp_path, monkeypatch):
    from pipeline.commands.cli import cli

    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 1}}')
    monkeypatch.setattr("pipeline.commands.train._fit", lambda *_: None)
    arguments = ["train", "vqvae", "--data", str(tmp_path), "--out", str(root.path)]
    cli(arguments, standalone_mode=False)


def test_a_run_that_is_killed_leaves_no_lock(root, holder):
    holder.kill()
    holder.wait()
    with run_lock.held(root.lock):
        assert f"process {os.getpid()} on " in root.lock.read_text()


def test_who_has_not_said_its_name_is_another_process(root):
    with run_lock.held(root.lock):
        root.lock.write_text("")
        message = "in use by another process; wait"
        with pytest.raises(PipelineError, match=message), run_lock.held(root.lock):
            pass


def test_a_full_disk_stops_no_lock(root):
    os.symlink("/dev/full", root.lock)
    with run_lock.held(root.lock):
        pass


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"file cannot be used for a run: run\.lock: .*; name a folder that you may write to"
    with pytest.raises(PipelineError, match=message), run_lock.held(Root(tmp_path / "file").lock):
        pass


def test_a_file_system_without_locks_is_named(root, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    message = "No locks available; name a folder"
    with pytest.raises(PipelineError, match=message), run_lock.held(root.lock):
        pass
