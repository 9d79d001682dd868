"""Who is heard in a spectrogram: a small classifier that learns from real ones in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.audio.config import AudioConfig

NOBODY = -1

# Rows that a filter sees together, and filters.
_ROWS, _FILTERS = 5, 512
# Principal components of what they see. What decoders make is smoother than what is real, and with
# fewer of them the judge takes both alike.
_COMPONENTS = 32
# Rows around which filters are made, at most.
_MOST_ROWS = 20_000
# What is this much softer than the loudest row of a window is a pause, dB.
_PAUSE = 40.0
# Share of the covariance that is taken from its diagonal, and of the mean variance that is added.
_SHRINKAGE, _FLOOR, _TINY = 0.1, 1e-4, 1e-9
# Windows that are filtered together, which bounds the memory.
_AT_ONCE = 32


@dataclass(frozen=True)
class SpeakerJudge:
    """Fisher's linear discriminant of what random filters find, averaged over a window.

    512 random filters over 5 rows, rectified, are averaged over the rows in which something is
    said; speakers are told apart by these means. Nothing is trained step by step, so that the same
    spectrograms always give the same judge. (Saxe et al. 2011: random filters do nearly as well as
    learned ones; the discriminant is Fisher 1936, its covariance shrunk to the diagonal.)

    Attributes:
        speakers: labels that it knows, ascending; int64 `[S]`.
        filters, offset: float32 `[5 · mels, F]` and `[F]`.
        directions, bias: of the discriminant; float64 `[F, S]` and `[S]`.
    """

    speakers: np.ndarray
    filters: np.ndarray
    offset: np.ndarray
    directions: np.ndarray
    bias: np.ndarray

    def __call__(self, images: np.ndarray, spoken: np.ndarray) -> np.ndarray:
        """Whose voice is most likely, whoever speaks how often.

        Args:
            images: spectrograms, uint8 `[N, T, mels, 1]`.
            spoken: rows that count, bool `[N, T]`; those of the original, for what a decoder made.

        Returns:
            labels, int64 `[N]`; `NOBODY` where no row counts.
        """
        scores = _found(images, spoken, self.filters, self.offset) @ self.directions + self.bias
        return np.where(spoken.any(axis=1), self.speakers[scores.argmax(axis=1)], NOBODY)


def spoken_rows(images: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Rows in which something is said: no pause, and no padding.

    Args:
        images: spectrograms, uint8 `[N, T, mels, 1]`.
        audio: what a grey level is.

    Returns:
        bool `[N, T]`.
    """
    loudest = images.max(axis=(2, 3)).astype(np.float64)
    least = loudest.max(axis=1, keepdims=True) - _PAUSE / audio.decibels_per_level
    return (loudest > 0) & (loudest >= least)


def learned(
    images: np.ndarray, labels: np.ndarray, spoken: np.ndarray, seed: int = 0
) -> SpeakerJudge:
    """A judge of the speakers of these windows. All count alike, however much they say.

    Args:
        images: spectrograms, uint8 `[N, T, mels, 1]`.
        labels: whose voice each is, int64 `[N]`.
        spoken: rows that count, bool `[N, T]`; at least one of each speaker.
        seed: of the filters.
    """
    heard = spoken.any(axis=1)
    images, labels, spoken = images[heard], labels[heard], spoken[heard]
    filters, offset = _filters(images, spoken, np.random.default_rng(seed))
    found = _found(images, spoken, filters, offset)
    speakers, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros([len(speakers), found.shape[1]])
    np.add.at(means, index, found)
    means /= counts[:, None]  # (S, F)
    within = found - means[index]
    weight = 1.0 / (len(speakers) * counts[index])
    covariance = (within * weight[:, None]).T @ within
    variance = np.diag(covariance)
    covariance = (1.0 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(variance)
    # Filters that never answer have no variance, nor have speakers of one window each.
    covariance += np.eye(len(variance)) * (_FLOOR * found.var(axis=0).mean() + _TINY)
    directions = np.linalg.solve(covariance, means.T)
    return SpeakerJudge(speakers, filters, offset, directions, -0.5 * (means.T * directions).sum(0))


def _filters(
    images: np.ndarray, spoken: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random directions among the principal components, each of variance 1 over some rows."""
    window, row = np.nonzero(spoken)
    if len(row) > _MOST_ROWS:
        chosen = np.sort(random.choice(len(row), _MOST_ROWS, replace=False))
        window, row = window[chosen], row[chosen]
    padded = _padded(images)
    seen = np.stack([padded[window, row + place] for place in range(_ROWS)], 1) / np.float32(255.0)
    seen = seen.reshape(len(seen), -1).astype(np.float64)
    mean = seen.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(seen, rowvar=False, bias=True))
    variances, vectors = variances[-_COMPONENTS:], vectors[:, -_COMPONENTS:]
    scale = 1.0 / np.sqrt(np.maximum(variances, _FLOOR * variances.max()) * len(variances))
    filters = (vectors * scale) @ random.normal(size=(len(variances), _FILTERS))
    return filters.astype(np.float32), -(mean @ filters).astype(np.float32)


def _found(
    images: np.ndarray, spoken: np.ndarray, filters: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """What filters find in windows: float64 `[N, F]`, the mean over the rows that count."""
    count, rows = spoken.shape
    found = np.zeros([count, filters.shape[1]])
    for first in range(0, count, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        padded = _padded(images[some]) / np.float32(255.0)
        seen = np.concatenate([padded[:, place : place + rows] for place in range(_ROWS)], 2)
        answers = np.maximum(seen @ filters + offset, 0.0)  # (n, T, F)
        kept = spoken[some, :, None]
        sums = answers.sum(axis=1, where=kept, dtype=np.float64)
        found[some] = sums / np.maximum(kept.sum(axis=1), 1)
    return found


def _padded(images: np.ndarray) -> np.ndarray:
    """uint8 `[N, T + 4, mels]`, so that each row has two before and behind it."""
    return np.pad(images[..., 0], [(0, 0), (_ROWS // 2, _ROWS // 2), (0, 0)])
