"""The connection to Kubeflow Pipelines' API: address, namespace, credentials, errors in a line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from components.errors import PipelineError
from pipeline.config.config import ConfigError
from pipeline.user_path import UserPath

if TYPE_CHECKING:
    import kfp

Result = TypeVar("Result")

_TOKEN_VARIABLE, _COOKIES_VARIABLE = "KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES"
# Where Kubernetes puts the token of a pod's service account, by the SDK's own names.
_POD_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
_TRIES, _FIRST_WAIT = 5, 1.0  # waits of 1, 2, 4 and 8 seconds
_TIMEOUT = (10, 60)  # seconds to connect, and between two bytes of an answer


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
        looked at, then the token of the pod's service account.

        Raises:
            ConfigError: a credential cannot be a header, or no namespace is named where one is
                needed.
            PipelineError: the API cannot be reached, or refuses the credentials.
        """
        # The SDK takes seconds to import, and tells every user what it works with.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp
            from kfp.client import token_credentials_base

            token, cookies, token_file = self._credentials()

            class TokenFile(token_credentials_base.TokenCredentialsBase):
                def refresh_api_key_hook(hook, config: Any) -> None:
                    assert token_file is not None
                    config.api_key["authorization"] = _read(token_file)

            class Client(kfp.Client):
                def _load_config(client, *arguments: Any) -> Any:
                    config = super()._load_config(*arguments)
                    # Its retries know no pause, and it would follow redirects to sign-in pages.
                    config.retries = False
                    return config

                def _get_config_with_default_credentials(client, config: Any) -> Any:
                    # It would replace a --token-file; the pod's own token is found above.
                    return config

                def _load_context_setting_or_default(client) -> None:
                    super()._load_context_setting_or_default()
                    # Not of an earlier use: the SDK remembers one in the home folder.
                    client._context_setting["namespace"] = self.namespace or ""

                def get_kfp_healthz(client, sleep_duration: int = 0) -> Any:
                    # Once: the SDK asks five times over 25 seconds, also where access is denied.
                    self._guard(client)
                    found = client._healthz_api.healthz_service_get_healthz()
                    if found.multi_user and not self.namespace:
                        raise ConfigError(
                            f"{self._where}: a multi-user installation; give --namespace, that "
                            "of your profile"
                        )
                    return found

            # The SDK prints that there is no kubeconfig; that nobody answers is told below.
            with self.errors(), contextlib.redirect_stdout(io.StringIO()):
                # The SDK's `namespace` is the service's, not the user's.
                client = Client(
                    host=self.host,
                    existing_token=token,
                    cookies=cookies,
                    credentials=TokenFile() if token_file is not None else None,
                )
                self._guard(client)
        return client

    @property
    def _where(self) -> str:
        return self.host or "Kubeflow Pipelines"

    def _credentials(self) -> tuple[str | None, str | None, Path | None]:
        """Token, cookies and the file to read the token from; at most one way to have a token."""
        cookies = (
            _read(self.cookies_file)
            if self.cookies_file is not None
            else _variable(_COOKIES_VARIABLE)
        )
        if self.token_file is not None:
            _read(self.token_file)
            return None, cookies, self.token_file
        token = _variable(_TOKEN_VARIABLE)
        pod_token = Path(os.environ.get(_POD_TOKEN_VARIABLE) or _POD_TOKEN)
        if token or cookies or not pod_token.is_file():
            return token, cookies, None
        return None, None, pod_token

    def _guard(self, client: kfp.Client) -> None:
        """Makes every request end, and takes no web page for an answer."""
        api = client._run_api.api_client
        plain = type(api).request

        def request(*arguments: Any, _request_timeout: Any = None, **options: Any) -> Any:
            answer = plain(
                api, *arguments, _request_timeout=_request_timeout or _TIMEOUT, **options
            )
            raw = getattr(answer, "urllib3_response", answer)
            if "text/html" in raw.headers.get("Content-Type", ""):
                raise PipelineError(
                    f"{self._where}: answers with a web page, not as the API; either --host "
                    "lacks its path (such as /pipeline), or it wants a signed-in user: give "
                    "--token-file or --cookies-file"
                )
            return answer

        api.request = request

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Makes one line of what the API answers."""
        import urllib3
        from kfp_server_api.exceptions import ApiException

        try:
            yield
        except ApiException as error:
            raise PipelineError(f"{self._where}: {_explained(error, self.namespace)}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise PipelineError(
                f"{self._where} cannot be reached ({type(reason).__name__}); check --host, or "
                "forward the port: kubectl port-forward --namespace kubeflow svc/ml-pipeline 8888"
            ) from None

    def patiently(self, ask: Callable[[], Result], final: Collection[int] = ()) -> Result:
        """Asks again after an error that passes: no connection, or a server's 5xx and 429.

        Args:
            ask: may be done twice.
            final: statuses that do not pass here.

        Raises:
            PipelineError: the last answer.
        """
        import urllib3
        from kfp_server_api.exceptions import ApiException

        wait = _FIRST_WAIT
        for remaining in reversed(range(_TRIES)):
            with self.errors():
                try:
                    return ask()
                except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                    status = getattr(error, "status", None) or 0
                    passing = not isinstance(error, ApiException) or (
                        status not in final and (status == 429 or status >= 500)
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
        type=UserPath(path_type=Path, exists=True, dir_okay=False),
        help=f"File with a bearer token.  [default: the variable {_TOKEN_VARIABLE}]",
    )
    @click.option(
        "--cookies-file",
        type=UserPath(path_type=Path, exists=True, dir_okay=False),
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


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read: {error.strerror}") from None
    return _header(text, str(path))


def _variable(name: str) -> str | None:
    text = os.environ.get(name, "")
    return _header(text, f"the variable {name}") if text.strip() else None


def _header(text: str, source: str) -> str:
    """A credential as a header's text; elsewhere the error about it would show it."""
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ConfigError(f"{source}: must hold one line of text, as it follows in the header")
    return text


def _explained(error: Any, namespace: str | None) -> str:
    """Status and message of the API, without the headers, which hold credentials."""
    try:
        body = json.loads(error.body)
        # The second is of the uploads and the logs.
        message = body.get("message") or body["error_message"]
    except (TypeError, ValueError, KeyError, AttributeError):
        message = error.reason or "no reason was given"
        if error.status == 404:
            message += "; check --host, which may need a path (such as /pipeline)"
    message = " ".join(str(message).split())[:400]
    if 300 <= error.status < 400:
        return (
            f"sends elsewhere ({error.status}), as sign-in pages do: give --token-file or "
            "--cookies-file, and --host as it is in the end (https, say)"
        )
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
