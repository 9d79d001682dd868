"""The versions of Kubeflow Pipelines that a compiled pipeline can be for."""

from __future__ import annotations

from pipeline.config.config import ConfigError

BACKENDS = ("2.14", "2.15", "2.16", "2.17")
NEWEST = BACKENDS[-1]


def parse(backend: str) -> tuple[int, int]:
    """Major and minor version.

    Raises:
        ConfigError: not one of `BACKENDS`.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend version {backend}: must be one of {', '.join(BACKENDS)}")
    major, minor = backend.split(".")
    return int(major), int(minor)
