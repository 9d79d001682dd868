"""The three models of a release as functions, wherever they run: on disk or behind a server.

`pipeline.inference.client.Client` and `pipeline.inference.disk.DiskModels` are `Models`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
from pydantic import ValidationError

from components.errors import PipelineError
from components.example_gen.halving import by_halves
from components.features import DataKind
from components.tf_serving.batching import LARGEST
from models.audio.config import AudioConfig
from pipeline.inference.errors import InvalidInput

# Of one request of a stream, whichever comes first.
BATCH = LARGEST  # images; TensorFlow Serving refuses more in one request
BATCH_BYTES = 8 << 20  # of what is sent, or of what comes back


class Identity(NamedTuple):
    """What a model belongs to."""

    release: int
    codebook_sha256: str


class Encoded(NamedTuple):
    """Codes int32 [N, h, w(, g)], and the release that made them."""

    codes: np.ndarray
    release: int


class Drawn(NamedTuple):
    """Samples: images uint8 [N, H, W, C], codes int32 [N, h, w(, g)], and their release.

    Of a release of audio the images are spectrograms, and `audio`, float32 [N, samples], is what
    they sound like.
    """

    images: np.ndarray
    codes: np.ndarray
    release: int
    audio: np.ndarray | None = None


class Models(Protocol):
    """Encode, decode and sample of one release.

    What the networks see are images, of a release of audio too: there they are spectrograms.

    Every method raises `InvalidInput` with the model's words where the model refuses its input,
    and another one-line `PipelineError` for everything else that goes wrong.
    """

    def identity(self, model: str = "encode") -> Identity:
        """The release and the codebook of `encode`, `decode` or `sample`."""

    def at(self, release: int) -> Self:
        """The same models, of this release only."""

    def of_codebook(self, codebook_sha256: str, release: int) -> Self | None:
        """The models of a release that has this codebook, first of all `release`; None without."""

    def audio(self, model: str = "encode") -> AudioConfig | None:
        """The settings of the sound that a release takes and gives; None for one of images."""

    def takes_labels(self) -> bool:
        """Whether `decode` takes labels: its decoder is conditional."""

    def label_names(self) -> Sequence[str]:
        """What labels 0, 1, … are called; empty where that is not known."""

    def encode_stream(self, images: Iterable[bytes], kind: DataKind = "image") -> Iterator[Encoded]:
        """Codes of any number of PNG or JPEG images, in order and in batches.

        Args:
            images: to encode, or WAV files of a window each.
            kind: which of both.

        Raises:
            InvalidInput: with the `index` of the first that cannot be decoded.
        """

    def decode_stream(
        self, codes: Iterable[np.ndarray], labels: Sequence[int] | np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Images uint8 [n, H, W, C] of any number of codes int32 [h, w(, g)], in order.

        With as many labels, -1 where not known, if the decoder is conditional, and only then.
        """

    def waveform(self, frames: np.ndarray) -> np.ndarray:
        """Sound float32 [n, T · hop] of spectrograms uint8 [n, T, mels, 1], of a release of audio.

        T is among `models.medium.rows_at_once`, whatever the length of a window.
        """

    def sample(
        self,
        labels: Sequence[int],
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Drawn:
        """Images drawn from the prior, one for each label; -1 is unconditional."""


# What a release of an earlier vqvae, without a signature for it, is answered with.
NO_GUIDANCE = (
    "this release was made by an earlier vqvae, and cannot guide its samples; leave guidance at 1, "
    "or release again"
)

# Where codes alone are at hand.
NO_LABELS = (
    "release %d has a conditional decoder (model.decoder.conditional), which needs a label for "
    "each image besides its codes; decode in Python, with `decode(codes, labels)`"
)


def drawing(
    labels: Sequence[int], seed: int, temperature: float, top_k: int, top_p: float, guidance: float
) -> tuple[str, dict[str, np.ndarray | np.generic]]:
    """The signature of `sample`, and its inputs, that draw images; see `Models.sample`.

    Without guidance it is one that every release has.
    """
    inputs: dict[str, np.ndarray | np.generic] = {
        "labels": np.asarray(labels, np.int32),
        "seed": np.int64(seed),
        "temperature": np.float32(temperature),
        "top_k": np.int32(top_k),
        "top_p": np.float32(top_p),
    }
    if guidance == 1.0:
        return "controlled", inputs
    return "guided", {**inputs, "guidance": np.float32(guidance)}


def read_audio(settings: str | bytes, release: int) -> AudioConfig:
    """Settings of sound that a release tells, from JSON.

    Raises:
        PipelineError: it is of a later vqvae, whose settings are others.
    """
    try:
        return AudioConfig.model_validate_json(settings)
    except ValidationError as error:
        raise PipelineError(
            f"release {release}: its settings of audio are not ones that this vqvae knows; use the "
            "vqvae that made it"
        ) from error


def batches(images: Iterable[bytes], count: int, size: int) -> Iterator[list[bytes]]:
    """Cuts a stream of images into lists of at most `count` images and, but for one that is
    larger by itself, `size` bytes; holds no more than one list."""
    batch: list[bytes] = []
    total = 0
    for image in images:
        if batch and (len(batch) == count or total + len(image) > size):
            yield batch
            batch, total = [], 0
        batch.append(image)
        total += len(image)
    if batch:
        yield batch


def decoding(
    batches: Iterable[np.ndarray], labels: Sequence[int] | np.ndarray | None
) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of `decode` for batches of codes, and of the labels of all of them if any."""
    done = 0
    for codes in batches:
        inputs = {"codes": np.asarray(codes, np.int32)}
        if labels is not None:
            inputs["labels"] = np.asarray(labels[done : done + len(codes)], np.int32)
        done += len(codes)
        yield inputs


class RowBatches:
    """Cuts a stream of codes into batches whose answers are bounded in bytes.

    The first is a single row, which tells how large an answer is.
    """

    def __init__(self, rows: Iterable[np.ndarray], count: int, size: int):
        self._rows = iter(rows)
        self._count, self._size = count, size
        self._next = 1

    def __iter__(self) -> Iterator[np.ndarray]:
        while rows := list(itertools.islice(self._rows, self._next)):
            yield np.stack(rows)

    def learn(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Takes note of an answer, arrays [n, ...]."""
        row_bytes = max(sum(each.nbytes // max(len(each), 1) for each in outputs.values()), 1)
        self._next = min(max(self._size // row_bytes, 1), self._count)


def first_refused(
    encode: Callable[[Sequence[bytes]], object], batch: Sequence[bytes], error: InvalidInput
) -> InvalidInput:
    """The error of the first image of a batch that `encode` refuses, with its index there."""
    for rows, _, refused in by_halves(batch, encode, InvalidInput):
        if refused:
            return InvalidInput(str(refused), rows.start)
    return error
