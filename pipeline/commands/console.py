"""The terminal: text is shown as it is, since paths and messages are no markup."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console


def console_on(file: TextIO | None = None) -> Console:
    """A console on `file`, by default standard output, that reads nothing into what it prints.

    Brackets are no style and `:name:` is no picture; whoever wants a style says so with
    `rich.text.Text` or `style=`. Where there is no terminal, which would have an edge to fold at,
    a line stays one line.
    """
    made = Console(file=file, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.soft_wrap = True
        made.width = 120  # of tables
    return made
