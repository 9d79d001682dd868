"""What a `ModelServerConfig` asks to be served, as TensorFlow Serving reads it."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import grpc
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from components.release_store import models_config
from components.release_store.release import SERVED
from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.followed_store import FollowedStore

Policy: TypeAlias = (
    file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What one model shall serve.

    Attributes:
        versions: to be loaded.
        labels: name -> one of the versions.
    """

    versions: frozenset[int]
    labels: dict[str, int]

    @property
    def required(self) -> frozenset[int]:
        """Without which it cannot be served: what has a label, or all where nothing has."""
        return frozenset(self.labels.values()) or self.versions


def parse(text: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads the text of a `models.config`.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    try:
        return models_config.read(text)
    except ValueError as error:
        raise invalid(str(error)) from error


def wanted(
    config: model_server_config_pb2.ModelServerConfig, store: FollowedStore
) -> dict[str, Wanted]:
    """Model -> what it shall serve.

    `base_path` is not followed: it is the store's path on the machine that published, and a
    request may not make the server load what lies elsewhere. Models are those of the store.

    Raises:
        RequestError: the configuration is not one of models of this store.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("the configuration must be a model_config_list")
    found: dict[str, Wanted] = {}
    for model in config.model_config_list.config:
        if model.name not in SERVED:
            raise invalid(
                f"no model {model.name!r} in the release store; there are: {', '.join(SERVED)}"
            )
        if model.name in found:
            raise invalid(f"the model {model.name!r} is configured twice")
        if model.base_path and not model.base_path.rstrip("/").endswith(f"/{model.name}"):
            raise invalid(
                f"base_path of {model.name!r} must be the folder {model.name}/ of the release "
                f"store. Received: {model.base_path!r}"
            )
        versions = _versions(model.model_version_policy, store)
        labels = dict(model.version_labels)
        for version in labels.values():
            if version not in versions:
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which "
                    "is not currently available for inference",
                )
        found[model.name] = Wanted(frozenset(versions), labels)
    return found


def _versions(policy: Policy, store: FollowedStore) -> set[int]:
    there = store.versions()
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific":
        return set(policy.specific.versions)
    if kind == "all":
        return set(there)
    return set(there[-(policy.latest.num_versions or 1) :])
