"""The first cause stays the message, whatever goes wrong after it."""

from __future__ import annotations

import pytest

from components import durable_files
from components.errors import PipelineError, after, finally_do, notes, one_line


def fail(message: str, kind: type[Exception] = OSError) -> None:
    raise kind(message)


def test_what_fails_after_a_failure_is_its_note():
    with pytest.raises(ValueError, match="first") as failed:  # noqa: PT012
        try:
            fail("first", ValueError)
        except ValueError as failure:
            with after(failure, "the folder is left"):
                fail("second")
            raise
    assert one_line(failed.value) == "ValueError: first"
    assert notes(failed.value) == ["also: the folder is left (OSError: second)"]


def test_a_note_does_not_repeat_the_first_cause():
    with pytest.raises(PipelineError, match="first") as failed:  # noqa: PT012
        try:
            fail("first", PipelineError)
        except PipelineError as failure:
            with after(failure, "it is left"):
                fail("second")
            raise
    assert notes(failed.value) == ["also: it is left (OSError: second)"]


def test_without_a_failure_errors_are_errors():
    with pytest.raises(OSError, match="second"), after(None, "it is left"):
        fail("second")


def test_what_the_user_interrupts_ends():
    with pytest.raises(KeyboardInterrupt), after(ValueError(), "it is left"):
        raise KeyboardInterrupt


def test_notes_of_what_an_error_was_raised_from_are_found():
    cause = OSError("disk")
    with after(cause, "a file is left"):
        fail("busy")
    with pytest.raises(PipelineError) as failed:
        raise PipelineError("cannot be written") from cause
    failed.value.add_note("by somebody else")
    assert notes(failed.value) == ["also: a file is left (OSError: busy)"]


def test_an_end_that_fails_is_an_error_only_by_itself():
    with pytest.raises(OSError, match="busy"), finally_do(lambda: fail("busy"), "it is left"):
        pass
    with (
        pytest.raises(ValueError, match="first") as failed,
        finally_do(lambda: fail("busy"), "it is left"),
    ):
        fail("first", ValueError)
    assert notes(failed.value) == ["also: it is left (OSError: busy)"]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), durable_files.appearing(path) as unfinished:  # noqa: PT012
        unfinished.write_text("half of the n")
        fail("full")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"file": "old"}
    with durable_files.appearing(path) as unfinished:
        unfinished.write_text("new")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"file": "new"}
