"""Pictures of any size to codes and back, in tiles, by a release on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.errors import PipelineError
from models import images as image_ops
from pipeline.inference import codes_file, errors
from pipeline.inference.codes_file import Codes
from pipeline.inference.disk import DiskModels
from pipeline.inference.found_files import FoundFiles
from pipeline.inference.image_reading import IMAGE, read_image
from pipeline.inference.models import Models
from pipeline.inference.tiling import Tiling
from pipeline.inference.written import Written
from pipeline.progress import Progress


def encode_pictures(
    models: DiskModels, sources: Sequence[Path], out: Path, progress: Progress
) -> Written:
    """Encodes image files into a file of codes, each at its own size.

    Args:
        models: whose encoder is used.
        sources: image files of any format that Pillow reads, and folders of them.
        out: file to write, with `pixels_per_code`.
        progress: told of every picture.

    Raises:
        PipelineError: naming the first file that cannot be read or decoded, or the first folder
            without an image; or the release, where it does not say which networks it has. Nothing
            is written.
    """
    release, sha256 = models.identity("encode")
    tiling = Tiling.of_release(models.release)
    read = _reader(tiling.image[2])
    found = FoundFiles(sources)
    sizes: list[tuple[int, int]] = []
    made: list[np.ndarray] = []
    for image in found.read(read_image, IMAGE):
        try:
            picture = read(image).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise PipelineError(f"{found.paths[-1]}: {errors.message(error)}") from error
        made.append(codes_file.narrowest(tiling.encode(picture, models.encode_pixels)))
        sizes.append(picture.shape[:2])
        progress("encoding", len(made), found.total)
    if found.failure:
        raise found.failure
    codes_file.write(
        out,
        Codes(
            _together(made),
            np.array(found.names(), dtype=np.str_),
            np.array(sizes, np.int32),
            release,
            sha256,
            pixels_per_code=np.array(tiling.factors),
        ),
    )
    return Written(len(made), IMAGE, found.left_out)


def decode_stream(models: Models, source: Path, stored: Codes) -> Iterator[np.ndarray]:
    """Pictures uint8 [1, height, width, C] of codes that `encode_pictures` made, in order.

    Args:
        models: a release on disk.
        source: where the codes are from.
        stored: codes with `pixels_per_code`.

    Raises:
        PipelineError: the models are behind a server, or the codes contradict their sizes or the
            release.
    """
    if not isinstance(models, DiskModels):
        raise PipelineError(
            f"{source}: its pictures were encoded in tiles, which a release on disk decodes; "
            "leave --server out"
        )
    tiling = Tiling.of_release(models.release)
    assert stored.pixels_per_code is not None
    if tuple(stored.pixels_per_code.tolist()) != tiling.factors:
        raise PipelineError(
            f"{source}: each code stands for {_by(*stored.pixels_per_code)} pixels, but for "
            f"{_by(*tiling.factors)} in release {models.release.version}; decode with the release "
            "that made them"
        )
    for name, codes, (height, width) in zip(
        stored.names, stored.codes, stored.sizes.tolist(), strict=True
    ):
        rows, columns = tiling.grid_of(height, width)
        there = codes.shape[:2]
        if min(height, width) < 1 or rows > there[0] or columns > there[1]:
            raise PipelineError(
                f"{source}: {name} of {_by(height, width)} pixels would have {_by(rows, columns)} "
                f"codes, of {_by(*there)} that there are; encode it again"
            )
        yield tiling.decode(codes[:rows, :columns], height, width, models.decode)[None]


def _reader(channels: int) -> Callable[[bytes], tf.Tensor]:
    """Upright pixels uint8 [height, width, channels] of a PNG or JPEG."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def read(image: tf.Tensor) -> tf.Tensor:
        with tf.device("/CPU:0"):
            return image_ops.decode_image(image, channels)

    return read


def _together(made: Sequence[np.ndarray]) -> np.ndarray:
    """Codes of pictures, `[N, h, w(, g)]`, with zeros up to the largest grid."""
    grids = np.array([each.shape[:2] for each in made])
    largest = max(made, key=lambda each: each.itemsize)
    together = np.zeros([len(made), *grids.max(axis=0), *largest.shape[2:]], largest.dtype)
    for into, each in zip(together, made, strict=True):
        into[: each.shape[0], : each.shape[1]] = each
    return together


def _by(*sides: int) -> str:
    return "×".join(f"{side:,}" for side in sides)
