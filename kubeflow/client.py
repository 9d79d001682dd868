"""The connection to Kubeflow Pipelines' API: address, namespace, credentials, errors in a line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from components.errors import PipelineError

if TYPE_CHECKING:
    import kfp

Result = TypeVar("Result")

_TOKEN_VARIABLE, _COOKIES_VARIABLE = "KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES"
_TRIES, _FIRST_WAIT = 5, 1.0  # waits of 1, 2, 4 and 8 seconds


@dataclasses.dataclass(frozen=True)
class Connection:
    """Where the API is and who asks.

    Attributes:
        host: address; None for the service inside the cluster, or that of the kubeconfig.
        namespace: of the user, in a multi-user installation; None in a standalone one.
        token_file: file with a bearer token, read again for every request.
        cookies_file: file with the text of a Cookie header, such as Dex's authservice_session.
    """

    host: str | None = None
    namespace: str | None = None
    token_file: Path | None = None
    cookies_file: Path | None = None

    def open(self) -> kfp.Client:
        """A client of the SDK.

        Without credentials named, the variables KF_PIPELINES_TOKEN and KF_PIPELINES_COOKIES are
        looked at; inside of a cluster the SDK takes the pod's projected service account token.
        """
        # The SDK takes seconds to import, and tells every user what it works with.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp
            from kfp.client import token_credentials_base

            class TokenFile(token_credentials_base.TokenCredentialsBase):
                def refresh_api_key_hook(hook, config: Any) -> None:
                    config.api_key["authorization"] = _read(self.token_file)

            class Client(kfp.Client):
                def get_kfp_healthz(client, sleep_duration: int = 0) -> Any:
                    # Once: the SDK asks five times over 25 seconds, also where access is denied.
                    return client._healthz_api.healthz_service_get_healthz()

            token = os.environ.get(_TOKEN_VARIABLE) if self.token_file is None else None
            cookies = (
                _read(self.cookies_file)
                if self.cookies_file is not None
                else os.environ.get(_COOKIES_VARIABLE)
            )
            with self.errors():
                client = Client(
                    host=self.host,
                    # The SDK's word for "none given".
                    namespace=self.namespace or "kubeflow",
                    existing_token=token,
                    cookies=cookies,
                    credentials=TokenFile() if self.token_file is not None else None,
                )
        return client

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Makes one line of what the API answers."""
        import urllib3
        from kfp_server_api.exceptions import ApiException

        where = self.host or "Kubeflow Pipelines"
        try:
            yield
        except ApiException as error:
            raise PipelineError(f"{where}: {_explained(error, self.namespace)}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise PipelineError(
                f"{where} cannot be reached ({type(reason).__name__}); check --host, or forward "
                "the port: kubectl port-forward --namespace kubeflow svc/ml-pipeline 8888"
            ) from None

    def patiently(self, ask: Callable[[], Result]) -> Result:
        """Asks again after an error that passes: no connection, or a server's 5xx and 429."""
        import urllib3
        from kfp_server_api.exceptions import ApiException

        wait = _FIRST_WAIT
        for remaining in reversed(range(_TRIES)):
            with self.errors():
                try:
                    return ask()
                except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                    status = getattr(error, "status", None)
                    passing = not isinstance(error, ApiException) or (
                        status == 429 or (status or 0) >= 500
                    )
                    if not passing or not remaining:
                        raise
            time.sleep(wait)
            wait *= 2
        raise AssertionError("unreachable")


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a connection; the command receives `connection`."""

    @click.option("--host", metavar="URL", help="Kubeflow Pipelines.  [default: of the cluster]")
    @click.option("--namespace", help="Yours, in a multi-user installation.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help=f"File with a bearer token.  [default: the variable {_TOKEN_VARIABLE}]",
    )
    @click.option(
        "--cookies-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help=f"File with cookies of a session.  [default: the variable {_COOKIES_VARIABLE}]",
    )
    @functools.wraps(command)
    def connected(
        *arguments: Any,
        host: str | None,
        namespace: str | None,
        token_file: Path | None,
        cookies_file: Path | None,
        **options: Any,
    ) -> Any:
        connection = Connection(host, namespace, token_file, cookies_file)
        return command(*arguments, connection=connection, **options)

    return connected


def _read(path: Path | None) -> str:
    assert path is not None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read: {error.strerror}") from None


def _explained(error: Any, namespace: str | None) -> str:
    """Status and message of the API, without the headers, which hold credentials."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason or "no reason was given"
    message = " ".join(str(message).split())[:400]
    if error.status == 401:
        return (
            f"not signed in (401): {message}; give --token-file or --cookies-file, or run it in "
            "a pod whose service account may use Kubeflow Pipelines"
        )
    if error.status == 403:
        there = f"the namespace {namespace}" if namespace else "this installation"
        mend = f"ask for access to {there}, or give the right --namespace"
        return f"not allowed (403): {message}; {mend}"
    return f"{message} ({error.status})"
