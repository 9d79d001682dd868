"""The few requests that a job takes, made of an API that may be away for a while."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import PipelineError
from kubeflow.training_job.backends import BACKENDS

Json = dict[str, Any]

# Seconds.
PATIENCE = 600.0  # for an API that is away: workers train on while a control plane is upgraded
_ANSWER = 30.0  # for one answer
_SILENCE = 300.0  # of a log until the connection counts as dead

ROLE = "the Role vqvae-training-jobs of kubeflow/manifests/training-rbac.yaml"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Refused(PipelineError):
    """The API did not do what was asked.

    Attributes:
        status: of HTTP; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Cluster:
    """Jobs of one kind in one namespace, by the service account of this pod.

    Errors that pass (no answer, 408, 429, 5xx) are waited out for ten minutes.

    Args:
        backend: `trainjob` or `tfjob`.
        namespace: by default that of this pod.
        poll: seconds between two tries.
        notice: takes a line when an answer is waited for.

    Raises:
        PipelineError: this process is not in a pod of Kubernetes.
    """

    def __init__(
        self, backend: str, namespace: str | None, poll: float, notice: Callable[[str], None]
    ):
        from kubernetes import client, config

        with contextlib.suppress(config.ConfigException):
            config.load_incluster_config()
        configuration = client.Configuration.get_default_copy()
        if configuration.host == client.Configuration().host:
            raise PipelineError(
                "several workers need Kubernetes, and this process is in no pod that has a service "
                "account token; run the compiled pipeline there, or set training.workers to 1"
            )
        self.namespace = namespace or _own_namespace()
        self._backend, self._poll, self._notice = BACKENDS[backend], poll, notice
        self.kind = self._backend.kind
        self._where = (
            self._backend.group,
            self._backend.version,
            self.namespace,
            self._backend.plural,
        )
        api = client.ApiClient(configuration)
        self._jobs, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def create(self, manifest: Json) -> None:
        """Makes a job.

        Raises:
            Refused: with status 409 where one of this name exists.
        """
        what = f"create {self.kind} {manifest['metadata']['name']}"
        self._ask(what, self._jobs.create_namespaced_custom_object, *self._where, manifest)

    def get(self, name: str, patience: float | None = None) -> Json | None:
        """A job; None where there is none."""
        call = self._jobs.get_namespaced_custom_object
        try:
            what = f"get {self.kind} {name}"
            return self._ask(what, call, *self._where, name, patience=patience)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def delete(self, name: str, patience: float | None = None) -> None:
        """Has a job removed after all that it owns, if it is still there."""
        call = self._jobs.delete_namespaced_custom_object
        try:
            self._ask(
                f"delete {self.kind} {name}",
                call,
                *self._where,
                name,
                patience=patience,
                propagation_policy="Foreground",
            )
        except Refused as error:
            if error.status != 404:
                raise

    def pods(self, name: str) -> list[Any]:
        """Pods of a job's workers."""
        call, selector = self._core.list_namespaced_pod, f"{self._backend.job_label}={name}"
        what = f"list the pods of {self.kind} {name}"
        return self._ask(what, call, self.namespace, label_selector=selector).items

    def log(self, pod: str) -> Any:
        """A worker's log from its beginning, each line after its time; a stream that goes on.

        Raises:
            ApiException, urllib3's HTTPError: at once, and from the stream.
        """
        return self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=self._backend.container,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(_ANSWER, _SILENCE),
        )

    def _ask(
        self,
        what: str,
        call: Callable[..., Any],
        *arguments: Any,
        patience: float | None = None,
        **options: Any,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        patience = PATIENCE if patience is None else patience
        end = time.monotonic() + patience
        # The client itself tries a silent server four times.
        options["_request_timeout"] = min(_ANSWER, patience / 4)
        while True:
            try:
                return call(*arguments, **options)
            except ApiException as error:
                passes = error.status in (0, 408, 429) or error.status >= 500
                refusal = Refused(self._explained(error, what), error.status)
            except HTTPError as error:
                passes = True
                text = f"cannot {what}: Kubernetes' API does not answer ({type(error).__name__})"
                refusal = Refused(text, 0)
            if not passes or time.monotonic() + self._poll > end:
                raise refusal
            self._notice(f"{refusal}; trying again")
            time.sleep(self._poll)

    def _explained(self, error: Any, what: str) -> str:
        if error.status == 403:
            return (
                f"this pod's service account may not {what} in namespace {self.namespace}; "
                f"bind it to {ROLE}"
            )
        if error.status == 404 and what.startswith("create"):
            return (
                f"cannot {what}: this cluster does not know the kind; install Kubeflow Trainer, "
                "or choose the other kubeflow.training_job.backend"
            )
        try:
            text = json.loads(error.body)["message"]
        except (KeyError, TypeError, ValueError):
            text = error.body or error.reason or ""
        return f"cannot {what} ({error.status}): {' '.join(str(text).split())[:300]}"


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return "kubeflow"
