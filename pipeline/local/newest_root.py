"""The run root that is meant where a command names none: the newest in `runs/`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import click

from components.errors import PipelineError
from components.release_store import layout
from pipeline.local.root import Root

_RUNS = Path("runs")


def with_release() -> Root:
    """The root whose newest release is the newest of all; says which on standard error.

    Raises:
        PipelineError: there is none.
    """
    return _newest("release", _released, "nothing has been released", "makes a release")


def with_run() -> Root:
    """The root of the newest run; says which on standard error.

    Raises:
        PipelineError: there is none.
    """
    return _newest("run", _run, "there is no run", "makes one")


def _newest(what: str, time_of: Callable[[Root], float | None], lacking: str, mend: str) -> Root:
    folders = sorted(path for path in _RUNS.glob("*") if path.is_dir())
    times = {path: time for path in folders if (time := time_of(Root(path))) is not None}
    if not times:
        there = f" but {', '.join(map(str, folders))}" if folders else ""
        raise PipelineError(
            f"{lacking} in {_RUNS}/ of {Path.cwd()}, which holds nothing{there}; `vqvae run` "
            f"{mend}, or name a run root with --root"
        )
    newest = max(times, key=times.__getitem__)
    others = f", which has the newest {what} of: {', '.join(map(str, times))}"
    click.echo(f"using {newest}{others if len(times) > 1 else ''}", err=True)
    return Root(newest)


def _released(root: Root) -> float | None:
    versions = layout.versions(root.serving)
    return _created(root.serving / "releases" / f"{versions[-1]}.json") if versions else None


def _created(manifest: Path) -> float:
    try:
        created = json.loads(manifest.read_text(encoding="utf-8"))["created"]
        return datetime.datetime.fromisoformat(created).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0  # damaged, which whoever opens it will say


def _run(root: Root) -> float | None:
    try:
        return root.last_run.stat().st_mtime
    except OSError:
        return None
