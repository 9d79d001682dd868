"""Artifacts of a report: types that the pages of Kubeflow Pipelines show by themselves."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class HTML(Artifact):
    """A page that needs no other file: `PAGE` in the artifact's folder."""

    TYPE_NAME = "system.HTML"


class Metrics(Artifact):
    """Numbers and words by name, as the artifact's custom properties."""

    TYPE_NAME = "system.Metrics"


PAGE = "index.html"
