"""The command line as a user meets it: help at once, errors in one line, exit statuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from components.errors import after
from pipeline.commands.cli import main


def vqvae(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    "command", [(), ("run",), ("data",), ("report",), ("encode",), ("decode",), ("sample",)]
)
def test_help(command):
    shown = vqvae(*command, "--help")
    assert shown.returncode == 0
    assert "Usage:" in shown.stdout
    assert shown.stderr == ""


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys\n"
        "import pipeline.commands.cli\n"
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "--set", "model.quantizer.num_code=3"), 2, "did you mean"),
        (("run", "--config", "nowhere.yaml"), 2, "no configuration 'nowhere.yaml'"),
        (("run", "--config", "fashion_mnist"), 2, "no data for 'fashion-mnist'"),
        (("run", "--data", "nowhere"), 2, "nowhere: no such directory"),
        (("sample", "--out", "x"), 1, "nothing has been released"),
        (("report",), 1, "there is no run"),
    ],
)
def test_errors_are_one_line(arguments, status, message, tmp_path):
    failed = vqvae(*arguments, cwd=tmp_path)
    assert failed.returncode == status
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""


def test_bad_usage(tmp_path):
    failed = vqvae("run", "--nonsense", cwd=tmp_path)
    assert failed.returncode == 2
    assert "--nonsense" in failed.stderr


def test_what_went_wrong_after_an_error_is_a_line_below_it(monkeypatch, capsys):
    failure = OSError("the first cause")
    with after(failure, "a file is left"):
        raise OSError("busy")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("pipeline.commands.run.run_and_show", fail)
    monkeypatch.setattr(sys, "argv", ["vqvae", "run"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.splitlines() == [
        "error: OSError: the first cause (vqvae --debug … shows where)",
        "  also: a file is left (OSError: busy)",
    ]
