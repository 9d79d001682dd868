"""Typed settings of the gate: the `gate` section of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, FiniteFloat, model_validator

from models.config import Section
from models.metrics import METRICS, formulas, is_metric

# Fréchet distances of reconstructions and of samples, and the number of images they are of: what
# is measured besides where there are features.
FRECHET = ("rfid", "fid", "fid_images")
# What is measured besides of speech, and where the decoder can be told whose voice it makes.
SPEECH = ("stoi", "log_spectral_distance", "bits_per_second", "code_bits_per_second")
CONVERSION = ("speaker_accuracy", "conversion_target", "conversion_source", "conversion_content")
# Of speech whose phones are known.
PHONES = ("phoneme_accuracy", "phoneme_majority")
# All that is measured where the configuration has what it takes.
BESIDES = (*FRECHET, *SPEECH, *CONVERSION, *PHONES)
# The direction in which a metric gets better. The rest describe the data and the codebook: they
# have no better or worse, so they are not compared with the last release.
LOWER_IS_BETTER = frozenset(
    {"nmse", "prior_bits_per_code", "prior_bits_per_code_given_label", "bits_per_dim"}
    | {"rfid", "fid", "log_spectral_distance", "bits_per_second", "conversion_source"}
)
HIGHER_IS_BETTER = frozenset(
    {"psnr", "ssim", "code_usage", "perplexity"}
    | {"stoi", "conversion_target", "conversion_content", "phoneme_accuracy"}
)


class Threshold(Section):
    """What one metric of the candidate must satisfy on the held-out split."""

    # Smallest value allowed, in the metric's unit; none by default.
    min: FiniteFloat | None = None
    # Largest value allowed, in the metric's unit; none by default.
    max: FiniteFloat | None = None
    # How much worse than the last release the metric may be, as a share of the release's
    # value; negative asks for an improvement. None by default: no comparison.
    worse_by: Annotated[FiniteFloat | None, Field(gt=-1.0)] = None

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
    thresholds: dict[str, Threshold] = Field(default_factory=lambda: {"nmse": Threshold(max=0.1)})
    # Folder or URI of a SavedModel, images to features, in which the Fréchet distances `rfid` and
    # `fid` are measured; docs/configuration.md says what it must have. Default none: neither is.
    features: str | None = None
    # File or URI of the phones of utterances, such as the phones.json that `vqvae data speech`
    # writes; with it `phoneme_accuracy` is measured, of sound with one code a moment. Default
    # none: it is not.
    phones: str | None = None

    @model_validator(mode="after")
    def _known_metrics(self) -> GateConfig:
        if not self.thresholds:
            raise ValueError("a gate without thresholds would release anything; name one")
        for name in self.thresholds:
            if name in FRECHET and self.features is None:
                raise ValueError(
                    f"{name} needs gate.features, a SavedModel that makes features of images"
                )
            if name in PHONES and self.phones is None:
                raise ValueError(f"{name} needs gate.phones, a file of who says which phone when")
            if not is_metric(name) and name not in BESIDES:
                known = ", ".join((*METRICS, *BESIDES))
                raise ValueError(f"unknown metric {name!r}; known: {known}")
        for metric, threshold in self.thresholds.items():
            if threshold.worse_by is not None and metric not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
                raise ValueError(f"{metric} is neither better nor worse; use min or max")
        return self

    def measured(
        self, image: tuple[int, int, int], codebooks: int, besides: Sequence[str] = ()
    ) -> list[str]:
        """Names of all metrics of a model.

        Args:
            image: H, W, C.
            codebooks: of the model.
            besides: what is measured of the kind of data (`components.evaluator.speech`).
        """
        frechet = FRECHET if self.features is not None else ()
        return [*formulas(image, codebooks), *frechet, *besides]
