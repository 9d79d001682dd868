"""Options that several commands share."""

from __future__ import annotations

import click

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
