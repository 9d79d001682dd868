"""The report of a run: one self-contained HTML file that says what happened and how good it is."""

from __future__ import annotations

from pathlib import Path

from components import durable_files
from components.errors import PipelineError
from pipeline.local import writable
from pipeline.local.root import Root

__all__ = ["build", "require_run"]


def build(root: Path) -> Path:
    """Writes the report of a root's latest run, whole or not at all.

    A run that failed, or that lacks a part, is reported as far as it came.

    Args:
        root: run root, as given to `vqvae run`.

    Returns:
        path of the HTML file; in a temporary folder where the root cannot be written.

    Raises:
        PipelineError: nothing was run there yet, or the record of the run is damaged.
    """
    require_run(root)
    # Imported here, so that the command line can name its commands without TensorFlow.
    from pipeline.code_fingerprint import code_fingerprint
    from pipeline.report import last_run
    from pipeline.report.collect import collect
    from pipeline.report.render import render

    html = render(collect(last_run.read(Root(Path(root).absolute()), code_fingerprint())))
    path = writable.or_temporary(Root(Path(root)).report)
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable_files.appearing(path) as unfinished:
        # A name that is no UTF-8 is shown with escapes.
        unfinished.write_text(html, encoding="utf-8", errors="backslashreplace")
    return path


def require_run(root: Path) -> None:
    """Raises PipelineError where nothing was run yet."""
    if not Root(Path(root)).last_run.is_file():
        raise PipelineError(f"{root} holds no run yet; make one with `vqvae run --root {root}`")
