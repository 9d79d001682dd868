"""Which run root a command uses that was given none."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from components.errors import one_line
from pipeline.commands.cli import cli

COMMANDS = {
    "sample": ["sample", "--out", "drawn"],
    "encode": ["encode", "a.png", "--out", "codes.npz"],
    "decode": ["decode", "codes.npz", "--out", "decoded"],
    "serve": ["serve", "--port", "0", "--rest-port", "0"],
    "releases": ["releases", "show", "1"],
    "report": ["report"],
}


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def released(name: str, *days: int) -> Path:
    """A run root with releases of these days, of which there is no more than the manifests."""
    folder = Path("runs", name, "serving", "releases")
    folder.mkdir(parents=True)
    for version, day in enumerate(days, 1):
        created = datetime.datetime(2026, 11, day, tzinfo=datetime.UTC).isoformat()
        (folder / f"{version}.json").write_text(json.dumps({"created": created}))
    return folder


def said_by(command: str) -> tuple[str, str]:
    """What it prints before it fails, and its error."""
    result = CliRunner().invoke(cli, COMMANDS[command], standalone_mode=False)
    assert result.exception
    return result.output, one_line(result.exception)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "report"])
def test_the_newest_release_decides_and_is_told(command):
    for name, days in {"digits": (3, 4), "mine": (5,), "old": (1, 2)}.items():
        released(name, *days)
    Path("runs", "unfinished").mkdir()
    output, error = said_by(command)
    assert output.startswith(
        "using runs/mine, which has the newest release of: runs/digits, runs/mine, runs/old\n"
    )
    assert "runs/mine" in error  # its release is only a manifest


def test_the_only_one_is_told_too():
    released("mine", 5)
    assert said_by("sample")[0] == "using runs/mine\n"


def test_a_damaged_manifest_is_a_release_of_unknown_age():
    released("mine", 5)
    (released("broken", 6) / "1.json").write_text("{")
    assert said_by("sample")[0].startswith("using runs/mine, ")


@pytest.mark.parametrize("command", COMMANDS)
def test_where_there_is_none_it_says_what_is_there(command, tmp_path):
    what = "there is no run" if command == "report" else "nothing has been released"
    error = said_by(command)[1]
    assert error.startswith(
        f"{what} in runs/ of {tmp_path}, which holds nothing; `vqvae run` makes"
    )
    assert error.endswith("or name a run root with --root")
    for name in ("b", "a"):
        Path("runs", name).mkdir(parents=True)
    assert "which holds nothing but runs/a, runs/b; `vqvae run` makes" in said_by(command)[1]


def test_the_report_is_of_the_newest_run():
    for time, name in enumerate(("mine", "digits")):
        Path("runs", name).mkdir(parents=True)
        record = Path("runs", name, "last_run.json")
        record.write_text("{")
        os.utime(record, (1000 - time, 1000 - time))
    output, error = said_by("report")
    assert output.startswith("using runs/mine, which has the newest run of: runs/digits, runs/mine")
    assert "runs/mine/last_run.json" in error
