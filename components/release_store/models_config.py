"""The file that tells TensorFlow Serving which releases to serve, and under which labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from components.release_store.release import StoreError
from components.release_store.rollout import Served

_VERSION = re.compile(r"\bversions:\s*(\d+)")
_LABEL = re.compile(r'\bversion_labels\s*\{\s*key:\s*"(\w+)"\s*,?\s*value:\s*(\d+)\s*,?\s*\}')


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
    versions = " ".join(f"versions: {version}" for version in served.versions)
    labels = f'    version_labels {{ key: "stable" value: {served.stable} }}\n'
    if served.canary is not None:
        labels += f'    version_labels {{ key: "canary" value: {served.canary} }}\n'
    configs = "".join(
        "  config {\n"
        f'    name: "{model}"\n'
        f"    base_path: {json.dumps(f'{base}/{model}', ensure_ascii=False)}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ {versions} }} }}\n"
        f"{labels}"
        "  }\n"
        for model in models
    )
    return f"model_config_list {{\n{configs}}}\n"


def parse(text: str, where: str | Path) -> Served:
    """The versions and labels of such a text; of an older one too, which has a version only.

    Args:
        text: the file's contents.
        where: the file, for the error.

    Raises:
        StoreError: it does not name one stable release, the same for all models.
    """
    versions = {int(version) for version in _VERSION.findall(text)}
    labels: dict[str, set[int]] = {}
    for label, version in _LABEL.findall(text):
        labels.setdefault(label, set()).add(int(version))
    stable = labels.get("stable", versions)
    canary = labels.get("canary", set())
    if len(stable) != 1 or len(canary) > 1 or not stable | canary <= versions:
        raise StoreError(
            f"{where}: names no release, or not the same for all models; name one again with "
            "`vqvae releases promote VERSION`"
        )
    return Served(*stable, next(iter(canary), None), tuple(versions))
