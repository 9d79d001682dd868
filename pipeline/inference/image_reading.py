"""What is encoded of image files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import images as image_ops
from pipeline.datasets import image_file
from pipeline.inference.found_files import FoundFiles, UnusableFile

IMAGE = "image"  # what a file is


class ImageReading:
    """What is encoded of image files, each as a whole."""

    def __init__(self, found: FoundFiles):
        self._found = found
        self._sizes: list[tuple[int, int]] = []

    def encoded(self) -> Iterator[bytes]:
        """PNG or JPEG images; notes the height and width of each."""
        for image in self._found.read(read_image, IMAGE):
            try:
                height, width = image_ops.upright_sizes(tf.constant([image])).numpy()[0]
            except tf.errors.InvalidArgumentError:
                height = width = 0  # the encoder will say what is wrong with it
            self._sizes.append((int(height), int(width)))
            yield image

    def path(self, index: int) -> Path:
        """The file of one of `encoded`."""
        return self._found.paths[index]

    def columns(self) -> dict[str, Any]:
        """Of a file of codes of all of `encoded`."""
        return {
            "names": np.array(self._found.names(), dtype=np.str_),
            "sizes": np.array(self._sizes, np.int32),
        }


def read_image(data: bytes, name: str) -> bytes:
    """A file as PNG or JPEG.

    Raises:
        UnusableFile: it is no image, or damaged, or does not say which numbers are black and white.
    """
    try:
        return image_file.png_or_jpeg(data)
    except image_file.UnusableImage as error:
        raise UnusableFile(str(error)) from error
    except image_file.UnknownRange as error:
        raise UnusableFile(str(error), left_out=False) from error
