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
