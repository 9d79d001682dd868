"""The `vqvae` command."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
import traceback
from pathlib import Path

import click

from components.errors import is_for_user, notes, one_line, written_for_user
from components.trainer.preemption import Preempted
from pipeline import user_path
from pipeline.commands.data import data
from pipeline.commands.models import decode, encode, sample
from pipeline.commands.options import config_option, overrides_option
from pipeline.commands.releases import releases
from pipeline.commands.report import report
from pipeline.commands.serve import serve
from pipeline.commands.train import train
from pipeline.config.config import ConfigError
from pipeline.inference import local_addresses
from pipeline.user_path import UserPath

# Of a run that SIGTERM stopped after a checkpoint: the EX_TEMPFAIL of sysexits.h, try again.
PREEMPTED = 75

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
    """Trains, judges and releases VQ-VAEs: image TFRecords in, three SavedModels out."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be any bytes


@cli.command()
@config_option
@click.option("--data", "data_path", type=UserPath(path_type=Path), help="Image TFRecords.")
@click.option("--root", type=UserPath(path_type=Path), help="Run root.  [default: runs/NAME]")
@overrides_option
@click.option("--verbose", is_flag=True, help="Show the logs of TensorFlow, Beam and TFX.")
def run(
    config: str,
    data_path: Path | None,
    root: Path | None,
    overrides: tuple[str, ...],
    verbose: bool,
) -> None:
    """Runs the whole pipeline on this machine, from TFRecords to a release.

    Exit status: 0 released, 3 finished but refused by the gate, 2 bad usage or configuration,
    75 stopped by SIGTERM while training, after a checkpoint, 1 failed.
    """
    from pipeline.commands.run import run_and_show

    sys.exit(run_and_show(config, data_path, root, overrides, verbose))


for command in (data, train, report, encode, decode, sample, serve, releases):
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
        sys.exit(130)
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
        return 2
    return PREEMPTED if isinstance(written_for_user(error), Preempted) else 1


if __name__ == "__main__":
    main()
