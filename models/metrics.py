"""Every number that is reported about a model, defined once.

Measuring has two steps. `Sums` adds up what is needed, batch by batch, in float64, and two `Sums`
of different parts of a split add to the `Sums` of both: nothing is ever averaged over batches,
so no number depends on the batch size or on how the data was sharded. `METRICS` then maps each
name to its formula over the `Sums` of the whole split. Trainer, evaluator and report share both.

A metric without a value (no images, no variance, an input that was not measured) is NaN.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Side of the window of SSIM, pixels.
SSIM_WINDOW = 11

# Per-image outputs of the `evaluate` signature that are only added up, and may be left out.
_PER_IMAGE = (
    *("squared_error", "pixel_square_sum", "decoder_bits", "ssim"),
    *("prior_bits", "prior_bits_given_label"),
)

# The sums arrive as float32, so a variance below this share of the mean square is rounding.
_ROUNDING = 1e-6


@dataclass
class Sums:
    """What all metrics are computed from; a sum over images.

    Pixels are scaled to [0, 1], that is pixel / 255.
    """

    # H, W, C of the images.
    image: tuple[int, int, int]
    # How often each of the K codes of each codebook was used; int64 [B, K]. None where that is
    # not followed.
    code_counts: np.ndarray | None
    # Sum over images, rows and columns per channel; float64 [C].
    pixel_sum: np.ndarray
    # K, the size of a codebook.
    num_codes: int
    # B, the number of codebooks.
    codebooks: int = 1
    images: int = 0
    # Codes of all images together.
    codes: int = 0
    # Sum of (x − x̂)² over images, pixels and channels.
    squared_error: float = 0.0
    # Sum of x² over images, pixels and channels.
    pixel_square_sum: float = 0.0
    # Sum of −log₂ p(codes) over images.
    prior_bits: float = 0.0
    # Sum of −log₂ p(codes | label) over images; −log₂ p(codes) of those without a label.
    prior_bits_given_label: float = 0.0
    # Sum of −log₂ p(x | codes) over images.
    decoder_bits: float = 0.0
    # Sum of the images' SSIM.
    ssim: float = 0.0

    @classmethod
    def zero(
        cls,
        num_codes: int,
        image: tuple[int, int, int],
        count_codes: bool = True,
        codebooks: int = 1,
    ) -> Sums:
        """The sums of no images.

        Args:
            num_codes: K.
            image: H, W, C.
            count_codes: follow how often each code was used, which takes 8·B·K bytes; the metrics
                that tell how the codes are spread are NaN without.
            codebooks: B; with more than 1 each of the B codes of a position has its own.
        """
        height, width, channels = image
        return cls(
            image=(height, width, channels),
            code_counts=np.zeros((codebooks, num_codes), np.int64) if count_codes else None,
            pixel_sum=np.zeros(channels, np.float64),
            num_codes=num_codes,
            codebooks=codebooks,
        )

    @property
    def dimensions(self) -> int:
        """Pixel values of all images together, N·H·W·C."""
        return self.images * math.prod(self.image)

    def update(self, outputs: Mapping[str, Any]) -> None:
        """Adds a batch.

        Args:
            outputs: `codes` integers [N, ...], those of a position one after the other, and any
                of `squared_error` [N], `pixel_sum` [N, C], `pixel_square_sum` [N], `ssim` [N],
                `prior_bits` [N], `prior_bits_given_label` [N] and `decoder_bits` [N], as the
                `evaluate` signature returns them; arrays or tensors. What is left out makes the
                metrics that need it NaN; but a model that knows no labels spends the same bits
                with them as without.

        Raises:
            ValueError: if a code is not one of the K.
        """
        outputs = {"prior_bits_given_label": outputs.get("prior_bits"), **outputs}
        codes = np.asarray(outputs["codes"])
        if codes.size and not 0 <= codes.min() <= codes.max() < self.num_codes:
            raise ValueError(
                f"`codes` must be in [0, {self.num_codes}). "
                f"Received: {codes.min()} to {codes.max()}"
            )
        if self.code_counts is not None:
            for counts, own in zip(
                self.code_counts, codes.reshape(-1, self.codebooks).T, strict=True
            ):
                counts += np.bincount(own, minlength=self.num_codes)
        self.codes += codes.size
        self.images += len(codes)
        for name in _PER_IMAGE:
            each = outputs.get(name)
            value = math.nan if each is None else float(np.sum(each, dtype=np.float64))
            setattr(self, name, getattr(self, name) + value)
        if "pixel_sum" in outputs:
            self.pixel_sum += np.sum(outputs["pixel_sum"], axis=0, dtype=np.float64)
        else:
            self.pixel_sum += math.nan

    def merge(self, other: Sums) -> None:
        """Adds the sums of other images, measured with the same model."""
        own, others = (
            f"K={each.num_codes}, B={each.codebooks}, image={each.image}" for each in (self, other)
        )
        if own != others:
            raise ValueError(
                f"sums of two different models cannot be added. Received: {own} and {others}"
            )
        if self.code_counts is None or other.code_counts is None:
            self.code_counts = None
        else:
            self.code_counts += other.code_counts
        self.codes += other.codes
        self.pixel_sum += other.pixel_sum
        self.images += other.images
        for name in _PER_IMAGE:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def nmse(sums: Sums) -> float:
    """Normalised mean squared error: Σ (x − x̂)² / Σ (x − mean)², no unit.

    The mean is that of the channel over the same images, so 1 is what painting every image in
    the mean colour scores, and 0 is perfect. NaN where the images have no variance.
    """
    if not sums.images:
        return math.nan
    height, width, _ = sums.image
    mean_square_sum = float(np.square(sums.pixel_sum).sum()) / (sums.images * height * width)
    deviation = sums.pixel_square_sum - mean_square_sum
    if not deviation > _ROUNDING * sums.pixel_square_sum:
        return math.nan
    return sums.squared_error / deviation


def psnr(sums: Sums) -> float:
    """Peak signal-to-noise ratio in dB: −10·log₁₀ of the mean of (x − x̂)², peak 255.

    Of the mean over the split, not the mean of the images' ratios. Infinite without any error.
    """
    if not sums.images:
        return math.nan
    mean_squared_error = sums.squared_error / sums.dimensions
    return math.inf if mean_squared_error == 0.0 else -10.0 * math.log10(mean_squared_error)


def ssim(sums: Sums) -> float:
    """Structural similarity (`models.ssim`), the mean over the images; 1 is perfect."""
    return _share(sums.ssim, sums.images)


def code_usage(sums: Sums, codebook: int | None = None) -> float:
    """Share of the codes that occur at least once in the split, 0 to 1.

    Args:
        sums: over the split.
        codebook: of which one; all of them by default.
    """
    counts = _counts(sums, codebook)
    return math.nan if counts is None else _share(int(np.count_nonzero(counts)), counts.size)


def perplexity(sums: Sums, codebook: int | None = None) -> float:
    """exp(H) of the split's code frequencies: as many codes as used evenly, 1 to K.

    Args:
        sums: over the split.
        codebook: of which one; by default the geometric mean over all of them.
    """
    return 2.0 ** unigram_bits_per_code(sums, codebook)


def prior_bits_per_code(sums: Sums) -> float:
    """Bits that the learned prior spends on a code, −log₂ p(codes) / number of codes."""
    return _share(sums.prior_bits, sums.codes)


def prior_bits_per_code_given_label(sums: Sums) -> float:
    """As `prior_bits_per_code`, of a prior that is told each image's label, if it has one."""
    return _share(sums.prior_bits_given_label, sums.codes)


def unigram_bits_per_code(sums: Sums, codebook: int | None = None) -> float:
    """Bits per code of the best model that knows one table for each codebook: the entropy of the
    split's frequencies, averaged over the codebooks.

    They are those of the very split it is measured on, so no model that ignores context is
    better, where the codes of a position have a codebook each. Of several codes with one codebook
    each may have frequencies of its own, and a table for each would need less.

    Args:
        sums: over the split.
        codebook: of which one; of all by default.
    """
    counts = _counts(sums, codebook)
    if counts is None:
        return math.nan
    frequency = counts[counts > 0] / (sums.codes / sums.codebooks)
    return float(-(frequency * np.log2(frequency)).sum()) / len(counts) + 0.0  # no −0.0


def uniform_bits_per_code(sums: Sums) -> float:
    """Bits per code when every code is equally likely: log₂ K."""
    return math.log2(sums.num_codes)


def bits_per_dim(sums: Sums) -> float:
    """Bits to store an image without loss, its codes included, per pixel value.

    (−log₂ p(codes) − log₂ p(x | codes)) / (H·W·C): an upper bound on −log₂ p(x) / (H·W·C).
    """
    return _share(sums.prior_bits + sums.decoder_bits, sums.dimensions)


METRICS: dict[str, Callable[[Sums], float]] = {
    "nmse": nmse,
    "psnr": psnr,
    "ssim": ssim,
    "code_usage": code_usage,
    "perplexity": perplexity,
    "prior_bits_per_code": prior_bits_per_code,
    "prior_bits_per_code_given_label": prior_bits_per_code_given_label,
    "unigram_bits_per_code": unigram_bits_per_code,
    "uniform_bits_per_code": uniform_bits_per_code,
    "bits_per_dim": bits_per_dim,
}


# Of these there is one for each of several codebooks too: `perplexity_1`, and so on.
_OF_A_CODEBOOK = {"code_usage": code_usage, "perplexity": perplexity}
_NAME_OF_ONE = re.compile(rf"({'|'.join(_OF_A_CODEBOOK)})_([1-9][0-9]*)")


def formulas(image: tuple[int, int, int], codebooks: int = 1) -> dict[str, Callable[[Sums], float]]:
    """All metrics that a model has, by name.

    Args:
        image: H, W, C; images that are smaller than its window have no SSIM.
        codebooks: B; with more than 1 each has metrics of its own.
    """
    found = {name: METRICS[name] for name in METRICS if name != "ssim" or has_ssim(image)}
    if codebooks > 1:
        for name, formula in _OF_A_CODEBOOK.items():
            for place in range(codebooks):
                found[f"{name}_{place + 1}"] = functools.partial(formula, codebook=place)
    return found


def is_metric(name: str) -> bool:
    """Whether models of some configuration have a metric of this name."""
    return name in METRICS or of_codebook(name) is not None


def of_codebook(name: str) -> tuple[str, int] | None:
    """The metric, and the number of the codebook, of a name such as `perplexity_2`."""
    found = _NAME_OF_ONE.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def has_ssim(image: tuple[int, int, int]) -> bool:
    """Whether the window of SSIM fits into images of this size, H, W and C."""
    return min(image[:2]) >= SSIM_WINDOW


def summary(sums: Sums) -> dict[str, float]:
    """All metrics of the images by name."""
    found = formulas(sums.image, sums.codebooks)
    return {name: formula(sums) for name, formula in found.items()}


def _counts(sums: Sums, codebook: int | None) -> np.ndarray | None:
    """Of one codebook or all, int64 `[B, K]`; None where there are none."""
    if not sums.codes or sums.code_counts is None:
        return None
    return sums.code_counts if codebook is None else sums.code_counts[codebook : codebook + 1]


def _share(part: float, whole: float) -> float:
    return float(part) / whole if whole else math.nan
