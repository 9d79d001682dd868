"""Which models a command uses: those of a release on disk, or those that a server has."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from components.errors import PipelineError
from pipeline.commands.log_file import libraries_to
from pipeline.commands.options import root_option, seconds_option
from pipeline.local import newest_root, writable
from pipeline.local.root import Root
from pipeline.user_path import StoreAddress, UserPath

if TYPE_CHECKING:
    from pipeline.inference.disk import DiskModels
    from pipeline.inference.models import Models

_ON_DISK = (
    root_option("Run root whose release is used."),
    click.option(
        "--store",
        type=StoreAddress(),
        metavar="DIRECTORY|URI",
        help="Release store, where it is not `serving` below the run root: s3://…, gs://… too.",
    ),
    click.option(
        "--version", type=click.IntRange(min=1), help="A release; the stable one if left out."
    ),
)
_SERVED = (
    click.option(
        "--server",
        metavar="HOST:PORT",
        help="Use a server: `vqvae serve` or TensorFlow Serving, over gRPC.",
    ),
    click.option(
        "--version-label",
        default="stable",
        show_default=True,
        help="Which of the server's releases, unless --version says; '' is the newest.",
    ),
    seconds_option("--timeout", default=30.0, help="Seconds that a call of the server may take."),
    click.option(
        "--tls-ca",
        type=UserPath(path_type=Path, dir_okay=False),
        help="PEM certificates that the server's is checked against; without, no TLS.",
    ),
    click.option(
        "--tls-cert",
        type=UserPath(path_type=Path, dir_okay=False),
        help="Own certificate, PEM, for a server that asks for one; with --tls-key.",
    ),
    click.option(
        "--tls-key", type=UserPath(path_type=Path, dir_okay=False), help="Its private key."
    ),
)


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """What the options say; see their help."""

    root: Path | None
    store: str | None
    version: int | None
    server: str | None
    version_label: str
    timeout: float
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None

    @property
    def has_chosen(self) -> bool:
        """Whether the user named a very release."""
        return self.version is not None

    @property
    def release_store(self) -> str:
        """Folder or URI of the release store."""
        return self.store or str(self._root.serving)

    @contextlib.contextmanager
    def models(self, *names: str) -> Iterator[tuple[Models, TextIO]]:
        """The models for the use of those of these names; and standard error, see `quiet`.

        Raises:
            PipelineError: there is no release.
        """
        if not self.server:
            with self.on_disk(*names) as opened:
                yield opened
            return
        with self.quiet() as errors:
            from pipeline.inference.client import Client

            with Client(
                self.server,
                label=self.version_label,
                version=self.version,
                timeout=self.timeout,
                tls=self.tls_ca or False,
                tls_cert=self.tls_cert,
                tls_key=self.tls_key,
            ) as client:
                yield client, errors

    @contextlib.contextmanager
    def on_disk(self, *names: str) -> Iterator[tuple[DiskModels, TextIO]]:
        """The same from a release store."""
        store = self.release_store
        if self.store is None and not Path(store).is_dir():  # no log in a root that is none
            raise PipelineError(
                f"nothing has been released to {store} yet; `vqvae run` makes a release"
            )
        with self.quiet() as errors:
            from pipeline.inference.disk import opened

            with opened(store, self.version, *names) as models:
                yield models, errors

    @contextlib.contextmanager
    def quiet(self) -> Iterator[TextIO]:
        """Keeps what libraries say in a file; yields standard error as it was."""
        with contextlib.ExitStack() as stack:
            inside = None if self.server or self.store else self._root.log.with_name("models.log")
            log = stack.enter_context(writable.log(inside))
            errors = stack.enter_context(
                os.fdopen(os.dup(2), "w", encoding="utf-8", errors="surrogateescape")
            )
            stack.enter_context(libraries_to(log))
            yield errors

    @functools.cached_property
    def _root(self) -> Root:
        return Root(self.root) if self.root else newest_root.with_release()


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options to a command, which gets them as one argument `where`."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        values = {
            field.name: arguments.pop(field.name) for field in dataclasses.fields(ModelOptions)
        }
        where = ModelOptions(**values)
        _check_usage(where)
        command(where=where, **arguments)

    for option in reversed((*_ON_DISK, *_SERVED)):
        wrapped = option(wrapped)
    return wrapped


def _check_usage(where: ModelOptions) -> None:
    context = click.get_current_context()

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    wrong, reason = (
        (("root", "store"), "names a release on disk; leave it or --server out")
        if where.server
        else (
            ("version_label", "timeout", "tls_ca", "tls_cert", "tls_key"),
            "is about a server; name one with --server",
        )
    )
    for name in wrong:
        if given(name):
            raise click.UsageError(f"--{name.replace('_', '-')} {reason}")
    if (where.tls_cert is None) != (where.tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
