"""`vqvae beam-worker`: the processes in which an engine runs Beam's work."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import click

from pipeline.commands.options import host_option, port_option
from pipeline.user_path import UserPath, lend_home


@click.command("beam-worker")
@host_option("Address to listen on. Whoever reaches it can run code here.")
@port_option("--port", 50000, "Beam's worker pool.")
@click.option(
    "--scratch",
    type=UserPath(path_type=Path, file_okay=False),
    help="Folder for temporary files.  [default: that of the system]",
)
def beam_worker(host: str, port: int, scratch: Path | None) -> None:
    """Serves Beam workers to an engine on the same machine, or in the same pod.

    For `beam.runner: flink` and `portable`. It starts a process for each worker that a job asks
    for, installs nothing, and refuses a job of other code than its own. SIGTERM or Ctrl-C ends it
    and its workers. The log is on standard error.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("vqvae").setLevel(logging.INFO)
    if scratch:
        scratch = scratch.absolute()  # the workers have another working folder
        # Nothing else need be writable, neither for the workers nor for a library in this process.
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        lend_home()
    from pipeline.engines import worker_pool

    def show(address: str) -> None:
        click.echo(f"workers at {address}", err=True)

    worker_pool.serve(host, port, scratch or Path(tempfile.gettempdir()), show)
