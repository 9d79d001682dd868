"""Errors that speak to the user."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_LONGEST = 300
# Begins the note by which an error carries another that came after it.
_ALSO = "also: "


class UserError(Exception):
    """Its message is one line for the user: what is wrong, where, and how to mend it."""


class PipelineError(UserError, RuntimeError):
    """Stops a component, and so the run, for a reason that the user can act on."""


def is_for_user(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, was written for the user."""
    return written_for_user(error) is not None


def one_line(error: BaseException) -> str:
    """The message for the user: ours where there is one, also where Beam or TFX wrapped it."""
    return said(written_for_user(error) or error)


def said(error: BaseException) -> str:
    """What an error itself says, whatever came before it, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def written_for_user(error: BaseException | None) -> UserError | None:
    """The error for the user that `error` is, or was raised from."""
    return next((each for each in _chain(error) if isinstance(each, UserError)), None)


@contextlib.contextmanager
def after(failure: BaseException | None, what: str) -> Iterator[None]:
    """For what is done because of a failure, or in spite of it: the failure stays the message.

    An error of the block becomes a note of `failure`, which `notes` finds again, and ends the
    block. KeyboardInterrupt and the like are the user's and go on.

    Args:
        failure: what has gone wrong before; None if nothing has, and then errors are errors.
        what: what an error of the block means, such as `the report cannot be built`.
    """
    try:
        yield
    except Exception as second:
        if failure is None:
            raise
        failure.add_note(f"{_ALSO}{what} ({said(second)})")


@contextlib.contextmanager
def finally_do(action: Callable[[], object], what: str) -> Iterator[None]:
    """Does `action` when the block ends; where the block failed, its error stays the message.

    Args:
        action: such as giving a resource back.
        what: what its own failure means, for the note of the first one.
    """
    try:
        yield
    except BaseException as failure:
        with after(failure, what):
            action()
        raise
    action()


def notes(error: BaseException | None) -> list[str]:
    """What went wrong after an error, and because of it: one line each, oldest first."""
    return [
        note
        for each in _chain(error)
        for note in getattr(each, "__notes__", ())
        if note.startswith(_ALSO)
    ]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
