"""The report of a run: one self-contained HTML file that says what happened and how good it is."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.report.collect import collect
from pipeline.report.render import render

__all__ = ["build"]

# Below the run root.
PLACE = Path("report") / "index.html"


def build(root: Path) -> Path:
    """Writes the report of a root's latest run, whole or not at all.

    A run that failed, or that lacks a part, is reported as far as it came.

    Args:
        root: run root, as given to `vqvae run`.

    Returns:
        path of the HTML file.

    Raises:
        PipelineError: nothing was run there yet.
    """
    html = render(collect(Path(root).absolute()))
    path = Path(root) / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
