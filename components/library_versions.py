"""Versions of the libraries that results depend on.

They are part of what a result is known by, in the cache, in the key of a run and in the names of
checkpoints, so that an upgrade makes results anew. Nothing is imported for it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

# What the result of any component may depend on. One list for all: upgrades are rare, and a list
# for each would be wrong without a sign as soon as a component uses one library more.
RESULTS = (
    "tensorflow",
    "keras",
    "tfx",
    "tfx-bsl",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tensorflow-metadata",
    "apache-beam",
    "numpy",
    "pyarrow",
    "pillow",
)
# What decides the weights of a training, and so which checkpoints it may go on from: after an
# upgrade of TFX or Beam a Trainer runs again, but finds its training done.
WEIGHTS = ("tensorflow", "keras", "numpy")


def describe(names: Sequence[str] = RESULTS) -> str:
    """The versions of distributions in one line, such as `keras 3.15.1, numpy 2.3.5`."""
    return ", ".join(f"{name} {version(name) or 'none'}" for name in names)


def version(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
