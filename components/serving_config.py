"""The file that tells TensorFlow Serving which release to serve."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path


def render(base: str | Path, models: Sequence[str], version: int) -> str:
    """Text for `--model_config_file`: every model, pinned to one version.

    Args:
        base: absolute path of the store as the server sees it; TensorFlow Serving expands
            neither variables nor relative paths.
        models: names of the models, each a folder of versions below `base`.
        version: the version that all of them are pinned to.
    """
    configs = "".join(
        "  config {\n"
        f'    name: "{model}"\n'
        f"    base_path: {json.dumps(f'{base}/{model}', ensure_ascii=False)}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ versions: {version} }} }}\n"
        "  }\n"
        for model in models
    )
    return f"model_config_list {{\n{configs}}}\n"


def pinned(text: str) -> set[int]:
    """The versions that such a text names: one, if it was written here."""
    return {int(version) for version in re.findall(r"\bversions:\s*(\d+)", text)}
