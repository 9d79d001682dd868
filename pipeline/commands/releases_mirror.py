"""`vqvae releases mirror`: releases of an object store in a folder that any server can read."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import NoReturn

import click

from components.errors import PipelineError, one_line
from components.release_store.mirror import Mirror, Mirrored, mirroring
from pipeline.commands.options import host_option, port_option, seconds_option
from pipeline.user_path import StoreAddress, UserPath

# The longest wait between two looks at a store that does not answer, or to a full disk.
_LONGEST_WAIT = 60.0


@click.command()
@click.option(
    "--store",
    type=StoreAddress(),
    required=True,
    metavar="URI",
    help="Release store: s3://…, minio://….",
)
@click.option(
    "--to",
    "folder",
    type=UserPath(path_type=Path, file_okay=False),
    required=True,
    help="Folder of its own for the mirror; its models.config is TensorFlow Serving's.",
)
@click.option("--follow", is_flag=True, help="Go on until SIGTERM or Ctrl-C.")
@click.option(
    "--server-path",
    type=UserPath(path_type=Path),
    help="Where the server sees the folder, if it is mounted elsewhere there; absolute.",
)
@seconds_option(
    "--grace",
    "grace_seconds",
    default=600.0,
    or_none=True,
    help="Seconds that a version stays after models.config has ceased to name it; longer than "
    "the server waits between two looks and takes to load.",
)
@seconds_option(
    "--poll",
    "poll_seconds",
    default=10.0,
    help="Seconds between two looks at the store; with --follow, as what follows.",
)
@host_option("Address to answer /healthz and metrics on; 0.0.0.0 lets every machine ask.")
@port_option("--port", 8502)
@seconds_option(
    "--unhealthy-after",
    default=300.0,
    help="Seconds without agreeing with the store until /healthz says 503.",
)
def mirror(
    store: str,
    folder: Path,
    follow: bool,
    server_path: Path | None,
    grace_seconds: float,
    poll_seconds: float,
    host: str,
    port: int,
    unhealthy_after: float,
) -> None:
    """Copies the releases that a store in a bucket serves to a folder, for TensorFlow Serving.

    TensorFlow Serving opens neither s3:// nor minio://. Every copy is checked by its hashes, and
    models.config, with paths of the folder, is replaced last: whenever this is killed, the folder
    names whole releases, and the next start goes on.

    Without --follow it ends once the folder holds all that is served: exit status 1 if it does
    not.
    """
    if server_path is not None and not server_path.is_absolute():
        raise click.UsageError(f"--server-path {server_path}: must be absolute, as a server needs")
    os.umask(0o022)  # the server is another user, most often
    with mirroring(store, folder, server_path, grace_seconds) as mirrored:
        if follow:
            _follow(mirrored, store, poll_seconds, host, port, unhealthy_after)
        else:
            _once(mirrored, store)


def _once(mirror: Mirror, store: str) -> None:
    held = mirror.update()
    if held is None:
        raise PipelineError(
            f"nothing has been released to {store} yet; `vqvae run` makes a release"
        )
    click.echo(_told(held))
    if held.left_out:
        raise PipelineError("; ".join(_left_out(held)))


class _Stopped(BaseException):
    """SIGTERM or Ctrl-C: whatever is going on ends here, as if killed, which is no harm."""


def _follow(
    mirror: Mirror, store: str, poll_seconds: float, host: str, port: int, unhealthy_after: float
) -> None:
    from pipeline.serving.mirror_status import HEALTH, MirrorStatus, answering

    stopped, signals = threading.Event(), (signal.SIGTERM, signal.SIGINT)

    def stop(*_: object) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        stopped.set()
        raise _Stopped

    status = MirrorStatus(store, unhealthy_after)
    try:
        for each in signals:
            signal.signal(each, stop)
        with answering(status, host, port) as taken:
            shown = f"[{host}]" if ":" in host else host
            click.echo(f"health  http://{shown}:{taken}{HEALTH}")
            said, failures = "", 0
            while not stopped.is_set():
                try:
                    held = mirror.update()
                except Exception as error:  # whatever it is, the next look may go well
                    failures += 1
                    status.failed(one_line(error))
                    click.echo(f"error: {one_line(error)}", err=True)
                else:
                    failures = 0
                    status.agreed(held)
                    telling = _told(held) if held else f"waiting for the first release of {store}"
                    if telling != said:
                        click.echo(telling)
                        for line in _left_out(held) if held else ():
                            click.echo(f"error: {line}", err=True)
                    said = telling
                wait = poll_seconds * 2 ** min(failures, 10)
                stopped.wait(min(wait, max(poll_seconds, _LONGEST_WAIT)))
    except _Stopped:
        pass
    click.echo("stopped")


def _told(held: Mirrored) -> str:
    versions = (
        f"{version} ({held.served.state(version)})" for version in reversed(held.served.versions)
    )
    return f"mirrored: release {', '.join(versions)}"


def _left_out(held: Mirrored) -> list[str]:
    return [f"release {version} is left out: {why}" for version, why in held.left_out.items()]
