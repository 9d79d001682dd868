"""What is printed is what is meant: no text is taken for markup."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest

from pipeline.commands.console import console_on
from pipeline.commands.display import RunDisplay, show_components
from pipeline.commands.progress_bar import ProgressBar
from pipeline.local.runner import ComponentRun
from tests import ROOT

TEXT = "runs/[exp1] a[/b] [red]:smile: 12 'x'"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain(terminal: io.StringIO) -> str:
    """Without colours and the movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


@pytest.fixture(params=[io.StringIO, Terminal])
def stream(request, monkeypatch) -> io.StringIO:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return request.param()


def test_messages_and_names_are_shown_as_they_are(stream):
    display = RunDisplay(console_on(stream))
    display(ComponentRun(TEXT))
    for level in (logging.INFO, logging.WARNING):
        display.emit(logging.LogRecord("", level, "", 0, TEXT, None, None))
    display(ComponentRun(TEXT, "ran", 1.0))
    said = plain(stream)
    assert said.count(TEXT) >= 3
    assert f"✔ {TEXT}" in said


def test_paths_in_a_table_are_shown_as_they_are(stream):
    root = Path("/[exp1]")
    outputs = {"examples": f"{root}/{TEXT}"}
    show_components(console_on(stream), [ComponentRun("Gen", "ran", 1.0, outputs)], root)
    assert TEXT in plain(stream)


def test_long_lines_of_a_log_are_not_folded():
    stream = io.StringIO()
    console_on(stream).print("x" * 500)
    assert stream.getvalue() == "x" * 500 + "\n"


def test_progress_is_shown_as_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressBar(stream, every=1) as bar:
        bar.update(TEXT, 1, 2)
    assert TEXT in plain(stream)


@pytest.mark.parametrize("package", ["components", "kubeflow", "models", "pipeline"])
def test_there_is_one_console_and_no_markup(package):
    for path in (ROOT / package).rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "[/]" not in source, f"{path}: a style is a Text, or style=, not markup"
        made = re.search(r"\bConsole\(", source)
        assert not made or path.name == "console.py", (
            f"{path}: use pipeline.commands.console.console_on"
        )
