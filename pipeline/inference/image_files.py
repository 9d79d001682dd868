"""Images on files: what is encoded of them, and what becomes of codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from components.errors import PipelineError
from components.features import DataKind
from pipeline.inference import pictures
from pipeline.inference.codes_file import Codes
from pipeline.inference.found_files import FoundFiles
from pipeline.inference.image_reading import IMAGE, ImageReading
from pipeline.inference.models import Drawn, Models
from pipeline.inference.new_files import file_names


class ImageFiles:
    """Images of any format that Pillow reads, and PNG files. `SoundFiles` is its sibling.

    Attributes:
        kind: of the data.
        thing: what a file is.
        suffix: of files that are written.
    """

    kind: DataKind = "image"
    thing = IMAGE
    suffix = ".png"

    def reading(self, found: FoundFiles) -> ImageReading:
        """What is encoded of files."""
        return ImageReading(found)

    def names(self, stored: Codes) -> list[PurePosixPath]:
        """Of the files that become of codes."""
        known = Image.registered_extensions()
        return file_names(stored.names.tolist(), self.suffix, known, self.thing)

    def decoded(
        self, models: Models, source: Path, stored: Codes, labels: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """Images uint8 [H, W, C] of codes, in order.

        Raises:
            PipelineError: they are codes of recordings, or of tiles for a server.
        """
        if stored.samples is not None:
            raise PipelineError(
                f"{source}: its codes are of recordings, but release "
                f"{models.identity('decode').release} is of images; decode with the release that "
                "made them"
            )
        if stored.pixels_per_code is None:
            batches = models.decode_stream(stored.codes, labels)
        else:
            batches = pictures.decode_stream(models, source, stored)
        for images in batches:
            yield from images

    def drawn(self, drawn: Drawn) -> np.ndarray:
        """Of samples what is written, uint8 [N, H, W, C]."""
        return drawn.images

    def drawn_columns(self, drawn: Drawn, count: int) -> dict[str, Any]:
        """Of a file of codes of `count` samples."""
        return {"sizes": np.tile(np.array(drawn.images.shape[1:3], np.int32), [count, 1])}

    def write(self, path: Path, pixels: np.ndarray) -> None:
        """Writes an image uint8 [H, W, C], C = 1 or 3, and the folders that it lies in."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
