"""Labels as the command line has them."""

from __future__ import annotations

from typing import Any

import click


class Label(click.ParamType):
    """A label by its number or, where a release knows it, its name: an int or a str."""

    name = "NUMBER|NAME"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int | str:
        try:
            number = int(value)
        except ValueError:
            return str(value)
        if not -(2**31) <= number < 2**31:
            self.fail(f"{number} is no label; they are numbers from 0, or -1 for none.", param)
        return number
