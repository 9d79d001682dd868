"""The program `vqvae`, under a name that nothing else on the user's path has.

`models`, `pipeline` and the like are names that others use as well. Where such a package lies in
PYTHONPATH, Python would find it before ours.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType

_PACKAGES = ("models", "components", "pipeline", "kubeflow", "configs")


def main() -> None:
    """Runs the command line with our own packages."""
    _find_ours_first(os.path.dirname(os.path.abspath(__file__)))
    from pipeline.commands.cli import main as run

    run()


def _find_ours_first(home: str) -> None:
    """Puts the folder of our packages first on the path, if one in front of it holds others.

    Child processes, such as Beam's workers, get the same path.
    """
    others = sys.path[: sys.path.index(home)] if home in sys.path else sys.path
    if any(_holds(folder, name) for folder in others for name in _PACKAGES):
        sys.path.insert(0, home)
        rest = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{home}{os.pathsep}{rest}" if rest else home
        for name in _PACKAGES:  # `python -m pipeline` has imported some already
            if name in sys.modules and not _is_in(home, sys.modules[name]):
                del sys.modules[name]


def _is_in(home: str, module: ModuleType) -> bool:
    return any(
        os.path.dirname(os.path.abspath(path)) == home for path in getattr(module, "__path__", ())
    )


def _holds(folder: str, name: str) -> bool:
    found = PathFinder.find_spec(name, [folder or os.getcwd()])
    # A folder without __init__.py has no loader, and gives way to a package behind it.
    return found is not None and found.loader is not None
