"""Image files of every format that Pillow opens, as the PNG or JPEG that the models decode."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pipeline.datasets import decodable

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

Default = TypeVar("Default", bound=float | None)

# How a file begins that stays as it is.
KEPT = (decodable.PNG, decodable.JPEG)
# Modes of eight bits that PNG stores as they are.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")

# Pillow neither reads the byte order of their wider numbers as it is nor scales them as they say.
_MISREAD = ("FITS", "MCIDAS")

# TIFF tags and values.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _SMIN, _SMAX = 258, 262, 339, 340, 341
_WHITE_IS_ZERO = 0
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3

# How far values may lie outside of their range, as a share of it: half a level of 256, as
# resampling leaves behind.
_OVERSHOOT = 1 / 512


class UnusableImage(Exception):
    """A file that is no image or a damaged one; the message says which."""


class UnknownRange(Exception):
    """An image that does not tell which numbers are black and white; the message has the mend."""


def png_or_jpeg(data: bytes) -> bytes:
    """A file as the models can decode it: PNG and JPEG as they are, all others as PNG.

    Of an image in another format it is the first frame, upright. Its pixels are the same to the
    bit if they are of eight bits or of unsigned sixteen; other numbers are scaled to sixteen bits,
    from the range that the format or the file declares; that of floats is 0 to 1 otherwise.

    Raises:
        UnusableImage: Pillow cannot decode it. PNG and JPEG are not looked into.
        UnknownRange: wide integers without a declared range, numbers beyond theirs, or NaN.
    """
    if data.startswith(KEPT):
        return data
    with _opened(data) as image:
        pixels = upright(image)
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", icc_profile=None)
    return buffer.getvalue()


def upright(image: Image.Image) -> Image.Image:
    """The first frame of an opened file, turned as its EXIF says, in a mode that PNG has.

    Raises:
        UnknownRange: see `png_or_jpeg`.
        Exception: whatever Pillow's decoders raise for damage.
    """
    image.load()
    turned = ImageOps.exif_transpose(image)
    if _is_of_wide_numbers(image):
        return Image.fromarray(_sixteen_bits(_numbers(turned, image), image))
    if image.mode in _PNG_MODES:
        return turned
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(turned)
    return turned.convert("RGBA" if turned.has_transparency_data else "RGB")


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    kind = "image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                kind = image.format or kind
                yield image
    except (UnknownRange, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnusableImage("not an image that Pillow reads") from error
    except Exception as error:  # Pillow's decoders raise whatever the damage leads to
        raise UnusableImage(f"truncated, corrupt or unsupported {kind}") from error


def _is_of_wide_numbers(image: Image.Image) -> bool:
    """Whether its pixels are numbers of another kind than unsigned bytes."""
    signed_bytes = image.mode == "L" and _tiff(image, _SAMPLE_FORMAT, _UNSIGNED) == _SIGNED
    return image.mode.startswith(("I", "F")) or signed_bytes


def _numbers(turned: Image.Image, image: Image.Image) -> np.ndarray:
    """The pixels [H, W] as `image`, the file, means them; Pillow's modes know no such types."""
    numbers = np.asarray(turned)
    if image.mode == "L":
        return numbers.view(np.int8)
    if image.mode == "I" and _tiff(image, _SAMPLE_FORMAT, _SIGNED) == _UNSIGNED:
        return numbers.view(np.uint32)
    return numbers


def _sixteen_bits(numbers: np.ndarray, image: Image.Image) -> np.ndarray:
    """Numbers [H, W] as uint16, black 0 and white 65,535.

    Raises:
        UnknownRange: it is not known which numbers are black and white.
    """
    known = _black_and_white(image)
    if known == (0.0, 65535.0) and numbers.dtype.kind in "iu":
        return numbers.astype(np.uint16)
    floats = numbers.dtype.kind == "f"
    kind = f"{8 * numbers.itemsize}-bit {'floats' if floats else 'integers'}"
    smallest, largest = float(numbers.min()), float(numbers.max())
    if not math.isfinite(smallest + largest):
        raise UnknownRange(f"holds {kind} that are NaN or infinite; replace them by numbers")
    holds = f"holds {kind} from {smallest:g} to {largest:g}"
    tags = ", or declare them in its tags SMinSampleValue and SMaxSampleValue"
    tags = tags if image.format == "TIFF" else ""
    if known is None:
        raise UnknownRange(
            f"{holds} and does not say which are black and white; save it with 8 or 16 bits{tags}"
        )
    low, high = sorted(known)
    slack = (high - low) * _OVERSHOOT
    if low == high or smallest < low - slack or largest > high + slack:
        raise UnknownRange(f"{holds}, but {low:g} to {high:g} is black to white; scale them{tags}")
    black, white = known
    scaled = numbers.astype(np.float64)
    scaled -= black
    scaled *= 65535 / (white - black)
    np.clip(scaled, 0, 65535, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def _black_and_white(image: Image.Image) -> tuple[float, float] | None:
    """The numbers that are black and white, where the format or the file says so."""
    if image.format in _MISREAD:
        return None
    if image.format == "TIFF":
        return _tiff_range(image)
    if image.format == "PPM":  # PGM, whose maximum Pillow has made 65,535, or PFM
        return (0, image.info["scale"]) if image.mode == "F" else (0, 65535)
    if image.mode == "F":
        return 0, 1
    return (0, 65535) if image.mode.startswith("I;16") else None


def _tiff_range(image: Image.Image) -> tuple[float, float] | None:
    bits, kind = _tiff(image, _BITS_PER_SAMPLE, 1), _tiff(image, _SAMPLE_FORMAT, _UNSIGNED)
    low: float
    high: float | None
    if kind == _UNSIGNED and bits <= 16:
        low, high = 0, 2**bits - 1
    else:
        low = _tiff(image, _SMIN, -(2 ** (bits - 1)) if kind == _SIGNED else 0)
        high = _tiff(image, _SMAX, 1 if kind == _FLOAT else None)
    if high is None:
        return None
    white_is_zero = _tiff(image, _PHOTOMETRIC, None) == _WHITE_IS_ZERO
    return (high, low) if white_is_zero else (low, high)


def _tiff(image: Image.Image, tag: int, default: Default) -> float | Default:
    """The first number of a tag of a TIFF; the default where it is missing, or in other formats."""
    if image.format != "TIFF":
        return default
    values = cast("TiffImageFile", image).tag_v2.get(tag, default)  # as its format says
    return values[0] if isinstance(values, tuple) else values
