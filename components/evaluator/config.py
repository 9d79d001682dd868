"""Typed settings of the gate: the `gate` section of a configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from models.config import Section

METRICS = (
    "nmse",
    "psnr",
    "code_usage",
    "perplexity",
    "prior_bits_per_code",
    "unigram_bits_per_code",
    "uniform_bits_per_code",
    "bits_per_dim",
)

# The direction in which a metric gets better; the rest describe and are not gated on change.
LOWER_IS_BETTER = frozenset({"nmse", "prior_bits_per_code", "bits_per_dim"})


class Threshold(Section):
    """What one metric of the candidate must satisfy on the held-out split."""

    # Smallest value allowed, in the metric's unit; none by default.
    min: float | None = None
    # Largest value allowed, in the metric's unit; none by default.
    max: float | None = None
    # How much worse than the last release the metric may be, as a share of the release's
    # value; negative asks for an improvement. None by default: no comparison.
    worse_by: Annotated[float | None, Field(gt=-1.0)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Threshold:
        if self.min is None and self.max is None and self.worse_by is None:
            raise ValueError("a threshold needs min, max or worse_by")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class GateConfig(Section):
    """Thresholds per metric; a candidate that misses one is not released."""

    # Metric name -> threshold; at least one. Default: nmse at most 0.1.
    thresholds: dict[str, Threshold] = {"nmse": Threshold(max=0.1)}

    @model_validator(mode="after")
    def _known_metrics(self) -> GateConfig:
        if not self.thresholds:
            raise ValueError("a gate without thresholds would release anything; name one")
        unknown = sorted(set(self.thresholds) - set(METRICS))
        if unknown:
            raise ValueError(f"unknown metric {unknown[0]!r}; known: {', '.join(METRICS)}")
        return self
