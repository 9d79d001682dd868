"""The file that tells TensorFlow Serving which releases to serve, and under which labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from components.release_store.release import StoreError
from components.release_store.rollout import Served


def render(base: str | Path, models: Sequence[str], served: Served) -> str:
    """Text for `--model_config_file`: the same versions and labels for every model.

    Args:
        base: absolute path of the store as the server sees it; TensorFlow Serving expands
            neither variables nor relative paths, and opens of URIs `gs://` only.
        models: names of the models, each a folder of versions below `base`.
        served: the versions to load and their labels.
    """
    # Text of this format is UTF-8; a server cannot be told another name.
    base = os.fsencode(base).decode("utf-8", "replace")
    server = ModelServerConfig()
    for name in models:
        model = server.model_config_list.config.add(
            name=name, base_path=f"{base}/{name}", model_platform="tensorflow"
        )
        model.model_version_policy.specific.versions.extend(served.versions)
        model.version_labels["stable"] = served.stable
        if served.canary is not None:
            model.version_labels["canary"] = served.canary
    return text_format.MessageToString(server, as_utf8=True)


def read(text: str) -> ModelServerConfig:
    """The message that such a text stands for.

    Raises:
        ValueError: it stands for none; in one line.
    """
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"models.config cannot be read: {error}") from error


def parse(text: str, where: str | Path) -> Served:
    """The versions and labels of such a text; of an older one too, which has a version only.

    Args:
        text: the file's contents.
        where: the file, for the error.

    Raises:
        StoreError: it does not name one stable release, the same for all models.
    """
    try:
        models = read(text).model_config_list.config
    except ValueError:
        models = []  # names no release
    versions: set[int] = set()
    labels: dict[str, set[int]] = {}
    for model in models:
        versions.update(model.model_version_policy.specific.versions)
        for label, version in model.version_labels.items():
            labels.setdefault(label, set()).add(version)
    stable = labels.get("stable", versions)
    canary = labels.get("canary", set())
    if len(stable) != 1 or len(canary) > 1 or not stable | canary <= versions:
        raise StoreError(
            f"{where}: names no release, or not the same for all models; name one again with "
            "`vqvae releases promote VERSION`"
        )
    return Served(next(iter(stable)), next(iter(canary), None), tuple(versions))
