"""A run that the user may only read, and a user whom the system does not know."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.inference import codes_file
from pipeline.local import writable
from tests import ROOT
from tests.fixtures import tiny_models
from tests.fixtures.tiny_models import png, some_images

_STRANGER = 54321


@pytest.fixture
def place():
    """A folder that other users may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="vqvae-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_stranger(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a command as a user without a name, without HOME and without rights."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        **({"user": _STRANGER, "group": _STRANGER, "extra_groups": []} if not os.geteuid() else {}),
    )


def test_encode_needs_no_right_to_write_in_the_run(place):
    root, own = place / "run", place / "own"
    tiny_models.publish(root / "serving", tiny_models.write(place / "models"))
    own.mkdir()
    own.chmod(0o777)
    (own / "a.png").write_bytes(png(some_images(1)[0]))
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o555)
    vqvae = (sys.executable, "-m", "pipeline")
    done = as_stranger(*vqvae, "encode", "a.png", "--root", root, "--out", "c.npz", cwd=own)
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "c.npz: codes of 1 image\n"
    assert len(codes_file.read(own / "c.npz")) == 1
    assert [path.name for path in root.iterdir()] == ["serving"]


def test_a_log_that_needs_a_look_stays(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with writable.log(None) as log:
        log.write_text("all is well")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), writable.log(None) as log:
        log.write_text(f"{1 / 0}")
    assert list(tmp_path.iterdir()) == []  # there is nothing to look at
    with pytest.raises(ZeroDivisionError):
        _fail_with_a_log()
    (log,) = tmp_path.glob("*/models.log")
    assert log.read_text() == "1 / 0"
    assert capsys.readouterr().err == f"the log is {log}\n"


def _fail_with_a_log() -> None:
    with writable.log(None) as log:
        log.write_text("1 / 0")
        raise ZeroDivisionError


def test_what_can_be_written_goes_where_it_belongs(tmp_path):
    path = tmp_path / "report" / "index.html"
    assert writable.or_temporary(path) == path
    with writable.log(path) as log:
        assert log == path
