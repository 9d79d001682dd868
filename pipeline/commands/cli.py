"""The `vqvae` command."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
import traceback

import click

from components.errors import is_for_user, notes, one_line, written_for_user
from components.trainer.preemption import Preempted
from pipeline import user_path
from pipeline.commands.beam_worker import beam_worker
from pipeline.commands.data import data
from pipeline.commands.exit_status import FAILED, INTERRUPTED, STOPPED, USAGE
from pipeline.commands.models import convert, decode, encode, sample
from pipeline.commands.releases import releases
from pipeline.commands.report import report
from pipeline.commands.run import run
from pipeline.commands.serve import serve
from pipeline.commands.train import train
from pipeline.config.config import ConfigError
from pipeline.inference import local_addresses

# TensorFlow, TFX and Beam take seconds to import: each command imports what it needs when it
# runs, so that help and mistakes in the configuration answer at once.


class _Commands(click.Group):
    """Commands of this package, and of packages above it, which it does not import.

    Those name theirs in the entry points of the group `vqvae.commands`.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *_others().names})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        found = super().get_command(context, name)
        if found is None and name in _others().names:
            found = _others()[name].load()
        return found


def _others() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group="vqvae.commands")


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="vqvae-pipeline")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Trains, judges and releases VQ-VAEs: TFRecords in, three SavedModels out."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be any bytes


_MODELS = (encode, decode, convert, sample)
for command in (data, run, train, report, *_MODELS, serve, releases, beam_worker):
    cli.add_command(command)


def main() -> None:
    """Entry point: errors are one line on stderr, a traceback only with `--debug`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    local_addresses.go_direct()
    user_path.lend_home()
    debug = "--debug" in sys.argv[1:]
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if is_for_user(error) else " (vqvae --debug … shows where)"
        click.echo(f"error: {one_line(error)}{hint}", err=True)
        for note in notes(error):
            click.secho(f"  {note}", err=True, dim=True)
        sys.exit(_status(error))


def _status(error: Exception) -> int:
    if isinstance(error, ConfigError):
        return USAGE
    return STOPPED if isinstance(written_for_user(error), Preempted) else FAILED


if __name__ == "__main__":
    main()
