"""The orientation that EXIF gives a PNG or JPEG image, found and undone inside the graph."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Segments of a JPEG or chunks of a PNG that are gone through, at some 20 µs each, before EXIF is
# given up. A colour profile has 255 segments at most, and a PNG of 30 MB 4,000 chunks.
_MOST_PARTS = 4096

_JPEG_EXIF = b"Exif\0\0"
_PNG_EXIF = b"eXIf"


def exif_orientation(encoded: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """The orientation, int32 [] in 1..8, of a PNG or JPEG, string []; 1 where none is given."""

    def tag_of(find: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        tiff = find(encoded)
        return tf.cond(
            tiff > 0,
            lambda: _tiff_orientation(tf.strings.substr(encoded, tiff, 2**16)),
            lambda: tf.constant(1),
        )

    # Most images have no EXIF and are spared the way through their parts.
    return tf.cond(
        tf.cond(
            is_png, lambda: _contains(encoded, _PNG_EXIF), lambda: _contains(encoded, _JPEG_EXIF)
        ),
        lambda: tf.cond(is_png, lambda: tag_of(_find_in_png), lambda: tag_of(_find_in_jpeg)),
        lambda: tf.constant(1),
    )


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undoes an orientation of pixels [h, w, C]."""

    def turned() -> tf.Tensor:
        # 5 to 8 swap the axes, then either axis may be mirrored.
        swapped = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
        vertical = tf.reduce_any(orientation == [3, 4, 7, 8])
        horizontal = tf.reduce_any(orientation == [2, 3, 6, 7])
        return tf.reverse(swapped, tf.boolean_mask([0, 1], tf.stack([vertical, horizontal])))

    return tf.cond(orientation > 1, turned, lambda: pixels)


def _contains(encoded: tf.Tensor, mark: bytes) -> tf.Tensor:
    # The one operation that searches for a literal at the speed of memory, many times that of a
    # decoder: EXIF may lie behind megabytes of other segments.
    without = tf.strings.regex_replace(
        encoded, mark.decode().replace("\0", r"\x00"), "", replace_global=False
    )
    return tf.strings.length(without) < tf.strings.length(encoded)


def _find_in_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Where the TIFF header of a JPEG's EXIF begins, int32 []; 0 where there is none."""
    size = tf.strings.length(encoded)

    def searching(position: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
        return (tiff == 0) & (position + 10 <= size)

    def next_segment(position: tf.Tensor, tiff: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Marker (2 bytes), length of what follows it (2), and of APP1 the signature (6).
        head = tf.cast(
            tf.io.decode_raw(tf.strings.substr(encoded, position, 4), tf.uint8), tf.int32
        )
        fill = (head[0] == 0xFF) & (head[1] == 0xFF)
        is_segment = (head[0] == 0xFF) & (head[1] != 0xDA)  # 0xDA: the picture itself begins
        is_exif = (head[1] == 0xE1) & (tf.strings.substr(encoded, position + 4, 6) == _JPEG_EXIF)
        following = tf.where(fill, position + 1, position + 2 + head[2] * 256 + head[3])
        return (
            tf.where(is_segment, following, size),
            tf.where(is_segment & is_exif, position + 10, 0),
        )

    return _walk(searching, next_segment, start=2)


def _find_in_png(encoded: tf.Tensor) -> tf.Tensor:
    """The same of a PNG, whose EXIF may lie before and behind the picture."""
    size = tf.strings.length(encoded)

    def searching(position: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
        return (tiff == 0) & (position + 12 <= size)

    def next_chunk(position: tf.Tensor, tiff: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Length (4 bytes), type (4), contents, checksum (4).
        raw_length = tf.strings.substr(encoded, position, 4)
        length = tf.io.decode_raw(raw_length, tf.int32, little_endian=False)[0]
        is_exif = tf.strings.substr(encoded, position + 4, 4) == _PNG_EXIF
        # Some programs write the signature that EXIF has in a JPEG.
        signed = tf.strings.substr(encoded, position + 8, 6 * tf.cast(is_exif, tf.int32))
        contents = position + 8 + 6 * tf.cast(signed == _JPEG_EXIF, tf.int32)
        whole = (length >= 0) & (length <= size - position - 12)
        return (
            tf.where(whole, position + 12 + length, size),
            tf.where(whole & is_exif, contents, 0),
        )

    return _walk(searching, next_chunk, start=8)


def _walk(searching, following, start: int) -> tf.Tensor:
    _, tiff = tf.while_loop(
        searching,
        following,
        (tf.constant(start), tf.constant(0)),
        maximum_iterations=_MOST_PARTS,
    )
    return tiff


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Tag 0x0112 of the first directory of a TIFF header, of either byte order."""
    # Sixteen zero bytes make every fixed-size read below fall inside, whatever the file claims.
    data = tf.cast(tf.io.decode_raw(tiff + 16 * b"\0", tf.uint8), tf.int64)
    size = tf.size(data, out_type=tf.int64) - 16
    weights = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
    weights = tf.cond(data[0] == ord("M"), lambda: weights, lambda: weights[::-1])
    # Weights of a two-byte number: the last two of big-endian, the first two of little-endian.
    short = tf.cond(data[0] == ord("M"), lambda: weights[2:], lambda: weights[:2])

    directory = tf.clip_by_value(tf.reduce_sum(data[4:8] * weights), 0, size)
    count = tf.reduce_sum(data[directory : directory + 2] * short)
    count = tf.clip_by_value(count, 0, tf.maximum(size - directory - 2, 0) // 12)
    start = directory + 2
    # Per entry: tag 2, type 2, count 4, value 4 bytes.
    entries = tf.reshape(data[start : start + 12 * count], [-1, 12])
    tags = tf.linalg.matvec(entries[:, 0:2], short)
    values = tf.linalg.matvec(entries[:, 8:10], short)
    found = tf.reduce_max(tf.where(tags == 0x0112, values, 1))
    return tf.cast(tf.where((found >= 1) & (found <= 8), found, 1), tf.int32)
