"""The manifest of a release as a page for people: what it is for, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2


def render(manifest: Mapping[str, Any]) -> str:
    """The model card of a release, Markdown.

    Args:
        manifest: as `releases/<v>.json` holds it; sections without facts are left out.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.release_store", "."),
        undefined=jinja2.ChainableUndefined,
        finalize=lambda value: "–" if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it is Markdown
    )
    environment.filters["number"] = _number
    return environment.get_template("model_card.md.j2").render(release=manifest)


def _number(value: float | None) -> str:
    """Four significant digits; a dash for what could not be measured."""
    return "–" if value is None else f"{value:.4g}"
