"""Libraries' output goes to the log, and the terminal comes back, also from a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import contextlib, logging, os, sys
from pathlib import Path
from pipeline.commands.log_file import libraries_to

def say(write, *what):
    with contextlib.suppress(OSError):  # as C++ does
        write(*what)

try:
    with libraries_to(Path(sys.argv[1])) as screen:
        say(print, "printed by a library")
        say(sys.stderr.write, "an error of a library")
        say(os.write, 1, b"written by C++")
        logging.getLogger("tfx").warning("logged")
        print("shown", file=screen)
        if sys.argv[2:]:
            raise ValueError(sys.argv[2])
finally:
    print("after")
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True
    )


def test_the_log_has_what_libraries_say(tmp_path):
    ended = run(tmp_path / "logs" / "run.log")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("shown\nafter\n", "", 0)
    log = (tmp_path / "logs" / "run.log").read_text()
    for text in ("printed by", "an error of", "written by C++", "tfx WARNING logged"):
        assert text in log


def test_a_full_disk_hides_no_error_and_returns_the_terminal(tmp_path):
    full = tmp_path / "run.log"
    full.symlink_to("/dev/full")
    ended = run(full, "the first cause")
    assert ended.returncode == 1
    assert ended.stdout == "shown\nafter\n"
    first, *_, last = ended.stderr.splitlines()
    assert first == f"the log {full} is not whole (No space left on device)"
    assert last == "ValueError: the first cause"
    assert "library" not in ended.stderr


def test_a_log_that_cannot_be_written_fails_nothing(tmp_path):
    full = tmp_path / "run.log"
    full.symlink_to("/dev/full")
    ended = run(full)
    assert (ended.stdout, ended.returncode) == ("shown\nafter\n", 0)
    assert ended.stderr == f"the log {full} is not whole (No space left on device)\n"
