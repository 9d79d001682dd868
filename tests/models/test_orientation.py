"""EXIF orientations of PNG and JPEG files, compared with Pillow."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from models import images

TURN = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"  # by 180 degrees


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Pixels without symmetries that JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = [255 * x / width, 255 * y / height, 255 * (x + 2 * y) / (width + 2 * height)]
    return np.stack(ramps, -1).astype(np.uint8)


def encode(kind: str, pixels: np.ndarray | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    options |= {"quality": 95} if kind == "JPEG" else {}
    Image.fromarray(picture() if pixels is None else pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def in_graph(encoded):
    return images.decode_image(encoded)


def decode(encoded: bytes) -> np.ndarray:
    """Upright pixels; the two ways to their size agree."""
    pixels = in_graph(tf.constant(encoded)).numpy()
    np.testing.assert_array_equal(images.upright_sizes(tf.constant([encoded]))[0], pixels.shape[:2])
    return pixels


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def after_start(encoded: bytes, parts: bytes) -> bytes:
    """A file with further segments behind SOI, or further chunks behind IHDR."""
    end = 33 if encoded.startswith(b"\x89PNG") else 2
    return encoded[:end] + parts + encoded[end:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("byte_order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_as_pillow_does(kind, byte_order, orientation):
    exif = Image.Exif()
    exif.endian = "<" if byte_order == "II" else ">"
    exif[0x010F] = "a camera"  # a tag before it, whose text lies behind the directory
    exif[0x0112] = orientation
    exif[0x0131] = "a program"
    raw = exif.tobytes()
    assert raw[6:8] == byte_order.encode()
    encoded = encode(kind, exif=raw)
    upright = Image.open(io.BytesIO(encoded))
    assert upright.getexif()[0x0112] == orientation
    upright = np.asarray(ImageOps.exif_transpose(upright)).astype(int)
    tolerance = 0 if kind == "PNG" else 1
    assert np.abs(decode(encoded) - upright).max() <= tolerance


def test_transform_and_serving_turn_a_png():
    """The very function that Transform and the encode signature share, in a graph of its own."""
    shared = tf.function(lambda encoded: images.preprocess_images(encoded, (32, 24, 3)))
    turned = Image.Exif()
    turned[0x0112] = 6
    batch = tf.constant([encode("PNG", exif=turned), encode("PNG", np.rot90(picture(), -1))])
    first, second = shared(batch).numpy()
    np.testing.assert_array_equal(first, second)


def test_orientation_of_gray_palette_and_wide_pngs():
    exif = Image.Exif()
    exif[0x0112] = 8
    gray = Image.fromarray(picture()[..., 0])
    wide = Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    for image in (gray, gray.convert("P"), gray.convert("LA"), wide):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", exif=exif)
        expected = np.rot90(np.asarray(gray))
        np.testing.assert_array_equal(decode(buffer.getvalue())[..., 0], expected)


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_jpeg_exif_behind_a_large_colour_profile(size):
    profile = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    plain = encode("JPEG", icc_profile=profile)
    start_of_table = plain.index(b"\xff\xdb", size)
    encoded = plain[:start_of_table] + segment(0xE1, b"Exif\0\0" + TURN) + plain[start_of_table:]
    assert encoded.index(b"Exif\0\0") > size
    assert Image.open(io.BytesIO(encoded)).getexif()[0x0112] == 3
    np.testing.assert_array_equal(decode(encoded), decode(plain)[::-1, ::-1])


def test_png_exif_before_and_behind_the_picture():
    plain = encode("PNG")
    expected = picture()[::-1, ::-1]
    text = chunk(b"tEXt", b"Comment\0" + 100_000 * b"eXIf")
    np.testing.assert_array_equal(decode(after_start(plain, text)), picture())
    np.testing.assert_array_equal(decode(after_start(plain, text + chunk(b"eXIf", TURN))), expected)
    end = plain.rindex(b"IEND") - 4
    np.testing.assert_array_equal(
        decode(plain[:end] + chunk(b"eXIf", TURN) + plain[end:]), expected
    )
    # As some programs write it.
    signed = chunk(b"eXIf", b"Exif\0\0" + TURN)
    np.testing.assert_array_equal(decode(after_start(plain, signed)), expected)


def test_jpeg_exif_after_other_segments():
    plain = encode("JPEG")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0 Exif\0\0")
    exif = segment(0xE1, b"Exif\0\0" + TURN)
    np.testing.assert_array_equal(decode(after_start(plain, xmp + exif)), decode(plain)[::-1, ::-1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "damage",
    [TURN[:7], TURN[:13], b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"", b"Exif\0\0"],
)
def test_damaged_exif_is_none(kind, damage):
    plain = encode(kind)
    part = chunk(b"eXIf", damage) if kind == "PNG" else segment(0xE1, b"Exif\0\0" + damage)
    np.testing.assert_array_equal(decode(after_start(plain, part)), decode(plain))


def test_a_chunk_that_claims_more_than_there_is_ends_the_search():
    plain = encode("PNG")
    for length in (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1000):
        hostile = struct.pack(">I", length) + b"eXIf" + TURN
        np.testing.assert_array_equal(decode(plain + hostile), picture())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_millions_of_parts_do_not_hold_up_the_decoder(kind):
    plain = encode(kind)
    if kind == "PNG":
        parts = 300_000 * chunk(b"teSt", b"") + chunk(b"eXIf", TURN)
    else:  # fill bytes, one by one, in front of a segment
        parts = segment(0xFE, b"Exif\0\0") + 4_000_000 * b"\xff" + segment(0xFE, b"")
    encoded = after_start(plain, parts)
    decode(plain)
    began = time.process_time()
    np.testing.assert_array_equal(decode(encoded), decode(plain))
    assert time.process_time() - began < 20  # all of them would take a minute and more
