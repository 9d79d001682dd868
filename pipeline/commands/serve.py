"""`vqvae serve`: the released models over the APIs of TensorFlow Serving."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from pathlib import Path

import click

from pipeline.commands.log_file import libraries_to
from pipeline.commands.options import host_option, port_option, root_option, seconds_option
from pipeline.local import newest_root
from pipeline.local.root import Root
from pipeline.user_path import StoreAddress, UserPath

_FILE = UserPath(path_type=Path, dir_okay=False, exists=True)


@click.command()
@root_option("Run root whose releases are served.")
@click.option(
    "--store",
    type=StoreAddress(),
    help="Release store, a folder or URI, where it is not in the run root.",
)
@host_option("Address to listen on; 0.0.0.0 lets every machine in.")
@port_option("--port", 8500, "gRPC.")
@port_option("--rest-port", 8501, "REST.")
@click.option("--tls-cert", type=_FILE, help="Certificate of the server, PEM; with --tls-key.")
@click.option("--tls-key", type=_FILE, help="Its private key.")
@click.option("--tls-client-ca", type=_FILE, help="Only clients with a certificate of this CA.")
@click.option(
    "--max-batch",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="Images of several requests that are computed together; 0 joins none.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Images in one request.",
)
@click.option(
    "--max-message-mib",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Size of one request.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Batches computed at the same time; each uses as many cores as it can.",
)
@seconds_option("--timeout", default=30.0, help="Seconds for requests that set no deadline.")
@seconds_option(
    "--poll", "poll_seconds", default=1.0, help="Seconds between two looks for a new release."
)
@seconds_option(
    "--grace",
    "grace_seconds",
    default=30.0,
    or_none=True,
    help="Seconds that requests get to end when the server is stopped.",
)
def serve(
    root: Path | None,
    store: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    **settings,
) -> None:
    """Serves encode, decode and sample of the release store, over gRPC and REST.

    The APIs are those of TensorFlow Serving. A new release is loaded beside the old one and takes
    over without a request being dropped. SIGTERM or Ctrl-C lets requests end, then stops.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if tls_client_ca and not tls_cert:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    if not store:
        store = str((Root(root) if root else newest_root.with_release()).serving)
    with contextlib.ExitStack() as quiet:
        # What libraries say of the machine while they start is nobody's concern.
        scratch = quiet.enter_context(tempfile.TemporaryDirectory())
        screen = quiet.enter_context(libraries_to(Path(scratch, "log")))
        from pipeline.serving import server
        from pipeline.serving.listeners import Tls
        from pipeline.serving.settings import Settings

        tls = Tls(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None
        chosen = Settings(store=store, tls=tls, **settings)

        def show_addresses(port: int, rest_port: int) -> None:
            scheme = "https" if tls else "http"
            host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
            click.echo(f"gRPC  {host}:{port}", screen)
            click.echo(f"REST  {scheme}://{host}:{rest_port}/v1/models/encode", screen)

        def show_start(served: dict[str, list[int]]) -> None:
            quiet.close()
            _log_to_terminal()
            _show_served(served)

        asyncio.run(server.serve(chosen, show_addresses, show_start, _show_served))
        click.echo("stopped")


def _log_to_terminal() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.WARNING)


def _show_served(served: dict[str, list[int]]) -> None:
    versions = {", ".join(map(str, found)) for found in served.values()}
    if len(versions) == 1:
        click.echo(f"serving release {versions.pop()}: {', '.join(sorted(served))}")
    else:
        each = (f"{name} {', '.join(map(str, found))}" for name, found in sorted(served.items()))
        click.echo(f"serving {'; '.join(each) or 'nothing'}")
