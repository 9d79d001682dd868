"""Image files of a folder, as a data set has them.

PNG and JPEG files are written as they are; any other format that Pillow reads becomes PNG (its
first frame, upright).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from pathlib import Path

from PIL import Image

from pipeline.config.config import ConfigError
from pipeline.datasets import decodable, image_file
from pipeline.datasets.facts import ImageSummary
from pipeline.datasets.file_kind import FileKind, Measures, Seen
from pipeline.datasets.source import LabelledImage

# Of large images only one is decoded at a time, in whatever thread.
_LARGE = 16 << 20  # pixels
_one_large = threading.Lock()


def _look(path: Path) -> Seen:
    is_image = False
    try:
        with open(path, "rb") as file:
            if not file.read(8).startswith(image_file.KEPT):
                file.seek(0)
                Image.open(file)  # its header only: whatever else lies here may be huge
            is_image = True
            file.seek(0)
            data = file.read()
        return _look_at_image(data)
    except PermissionError:
        raise
    except image_file.UnknownRange as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # Pillow's decoders raise whatever the damage leads to
        if is_image:
            return Seen(None, reason=f"cannot be decoded ({error})", damaged=True)
        return Seen(None, reason="not an image that Pillow reads")


def _look_at_image(data: bytes) -> Seen:
    kept = data.startswith(image_file.KEPT)
    if kept and (damage := decodable.damage(data)):
        return Seen(None, reason=damage, damaged=True)
    with Image.open(io.BytesIO(data)) as file:
        image: Image.Image = file
        if not kept:
            large = image.width * image.height > _LARGE
            with _one_large if large else contextlib.nullcontext():
                image = image_file.upright(file)
        return Seen((image.height, image.width), hashlib.sha256(data).digest())


def _record(data: bytes, label: int | None, measures: Measures, name: bytes) -> LabelledImage:
    height, width = map(int, measures)
    return LabelledImage(image_file.png_or_jpeg(data), label, height, width, name)


IMAGES = FileKind(
    name="folder",
    thing="image",
    look=_look,
    record=_record,
    summary=lambda label_names: ImageSummary(),
)
