"""Errors that speak to the user."""

from __future__ import annotations

_LONGEST = 300


class UserError(Exception):
    """Its message is one line for the user: what is wrong, where, and how to mend it."""


class PipelineError(UserError, RuntimeError):
    """Stops a component, and so the run, for a reason that the user can act on."""


def is_for_user(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, was written for the user."""
    return written_for_user(error) is not None


def one_line(error: BaseException) -> str:
    """The message for the user: ours where there is one, also where Beam or TFX wrapped it."""
    ours = written_for_user(error)
    if ours is not None:
        return " ".join(str(ours).split())
    text = " ".join(str(error).split())
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def written_for_user(error: BaseException | None) -> UserError | None:
    """The error for the user that `error` is, or was raised from."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error
