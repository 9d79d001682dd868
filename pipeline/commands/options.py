"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from pipeline.user_path import UserPath

config_option = click.option(
    "--config",
    default="digits",
    show_default=True,
    metavar="FILE|NAME",
    help="YAML file, or the name of a configuration that ships.",
)
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting."
)


def root_option(help: str, newest: str = "release") -> Callable[[Callable], Callable]:
    """`--root`; a command that gets None asks `pipeline.local.newest_root`."""
    return click.option(
        "--root",
        type=UserPath(path_type=Path, file_okay=False),
        show_default=f"the one in runs/ with the newest {newest}",
        help=help,
    )


def host_option(help: str) -> Callable[[Callable], Callable]:
    """`--host` of a command that listens: this machine alone unless it is told otherwise."""
    return click.option("--host", default="127.0.0.1", show_default=True, help=help)


def port_option(name: str, default: int, help: str | None = None) -> Callable[[Callable], Callable]:
    """A port of a command that listens; 0 takes a free one."""
    return click.option(
        name, type=click.IntRange(0, 65535), default=default, show_default=True, help=help
    )


def seconds_option(
    *names: str, default: float, help: str, or_none: bool = False
) -> Callable[[Callable], Callable]:
    """A time in seconds, above 0; with `or_none` it may be 0."""
    kind = click.FloatRange(min=0, min_open=not or_none)
    return click.option(*names, type=kind, default=default, show_default=True, help=help)
