"""Versions of the code that results depend on: ours and that of the libraries.

They are part of what a result is known by, in the cache, in the key of a run and in the names of
checkpoints. TFX keys its cache by inputs and exec properties and does not see code that is reached
by a dotted path. Each component of ours therefore carries the fingerprint of the modules that it
runs, so that an edit reruns what depends on it, and only that; an upgrade of a library reruns all.
Nothing is imported to find either.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

# All packages of ours lie side by side, in a checkout as in site-packages.
_ROOT = Path(__file__).resolve().parent.parent
_OURS = ("models", "components", "pipeline", "kubeflow")

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


def code_version(*modules: str) -> str:
    """Fingerprint of modules and of all modules of ours that they import, also indirectly.

    Args:
        modules: dotted names, such as `components.tokenizer.executor`.

    Returns:
        16 hexadecimal digits; the same for the same sources wherever they are installed.
    """
    found: set[str] = set()
    pending = set(modules)
    while pending:
        name = pending.pop()
        found.add(name)
        pending |= _imports(name) - found
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\0".encode())
        digest.update(_source(name).read_bytes())
    return digest.hexdigest()[:16]


def library_versions(names: Sequence[str] = RESULTS) -> str:
    """The versions of distributions in one line, such as `keras 3.15.1, numpy 2.3.5`."""
    return ", ".join(f"{name} {library_version(name) or 'none'}" for name in names)


def library_version(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _imports(name: str) -> set[str]:
    """Modules of ours that a module imports, anywhere in its text, and its parent packages."""
    tree = ast.parse(_source(name).read_bytes())
    candidates = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            candidates |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            candidates |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = name.split(".")
    candidates |= {".".join(parts[:count]) for count in range(1, len(parts))}
    return {name for name in candidates if name.split(".")[0] in _OURS and _find(name)}


def _find(name: str) -> Path | None:
    """The file of a module; None for a name inside a module, or of somebody else."""
    base = _ROOT.joinpath(*name.split("."))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def _source(name: str) -> Path:
    path = _find(name)
    if path is None:
        raise ValueError(f"no module of ours is called {name!r}")
    return path
