"""Encoded images to pixels, inside the TensorFlow graph: training and serving share this code."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.orientation import exif_orientation, upright

# Larger images are refused by their header, before a decoder allocates anything for them.
MAX_PIXELS = 64 * 2**20

# Images of a batch that are decoded at a time, and pixels beyond which an image is large: of
# large ones only one is. At up to 24 bytes per pixel, the others are 50 MB each at most.
_AT_A_TIME = 10
_LARGE = 2 * 2**20

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_IHDR_END = 26  # signature 8, chunk length and type 8, sides 8, bit depth 1, colour type 1

# First bytes of formats that people do put into image sets, for a reason that names them.
_OTHER_FORMATS = {b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}

# An operation that fails is named in the error, and the name is all that it lets us say.
_UNDECODABLE = "images_undecodable"


def preprocess_images(encoded: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes PNG and JPEG images, crops them to the target's aspect ratio and resizes them.

    Transparency is composited over white, 16-bit channels are rounded to 8, the EXIF orientation
    is applied, CMYK becomes RGB. The centre is cropped, then resized with an
    antialiased triangle filter; an image that already has the target's size passes bit by bit.
    With one channel, luma is (19595 R + 38470 G + 7471 B + 2^15) >> 16 (ITU-R 601), which keeps
    gray images exactly. Memory beyond the result is that of a few images, only one of them large.

    Args:
        encoded: string [N], PNG or JPEG files.
        image_shape: height, width and channels (1 or 3) of the result.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        tf.errors.InvalidArgumentError: when run, naming `images`, for bytes that are not a whole
            PNG or JPEG or whose header announces more than `MAX_PIXELS`.
    """
    height, width, channels = image_shape
    if channels not in (1, 3):
        raise ValueError(f"image_shape must end in 1 or 3 channels. Received: {image_shape}")

    def one(index: tf.Tensor, turn: tf.Tensor, results: tf.TensorArray):
        image = _Image(*(each[index] for each in (encoded, *headers)))
        sides = _sides(image)
        with tf.control_dependencies([turn]):
            pixels = _fit(_decode(image, sides), height, width)
        pixels = _luma(pixels) if channels == 1 else pixels
        # The next image waits for `turn`, whatever its value: for this one to be done if it is
        # large, for nothing otherwise. Images in front of a large one may still be decoded.
        turn = tf.cond(
            _count(sides) > _LARGE,
            lambda: turn + tf.cast(pixels[0, 0, 0], tf.int32),
            lambda: turn,
        )
        return index + 1, turn, results.write(index, pixels)

    # Hundreds of tiny operations per image: on an accelerator each would be a round trip.
    with tf.device("/CPU:0"):
        headers = _headers(encoded)
        count = tf.shape(encoded)[0]
        results = tf.TensorArray(tf.uint8, count, element_shape=image_shape)
        _, _, results = tf.while_loop(
            lambda index, *_: index < count,
            one,
            (0, 0, results),
            parallel_iterations=_AT_A_TIME,
            name="images",
        )
        return results.stack()


def decode_image(encoded: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """Decodes one PNG or JPEG, string [], into upright uint8 [h, w, channels]; errors as above."""
    image = _only(encoded)
    pixels = _decode(image, _sides(image))
    return _luma(pixels) if channels == 1 else pixels


def check_images(encoded: tf.Tensor, at_a_time: int = _AT_A_TIME) -> tf.Tensor:
    """Fails as `preprocess_images` does, at less than half the work for JPEGs.

    An eighth of each side is made of a JPEG: all its bytes are read, few of its pixels computed.

    Args:
        encoded: string [N].
        at_a_time: images that are decoded at a time.

    Returns:
        numbers, int32 [N], that say nothing.
    """
    headers = _headers(encoded)

    def jpeg(image: _Image) -> tf.Tensor:
        with tf.control_dependencies([_sides(image)]):  # which are refused first
            encoded = tf.identity(image.encoded)
        return tf.io.decode_jpeg(
            encoded, channels=3, ratio=8, fancy_upscaling=False, name=_UNDECODABLE
        )

    def png(image: _Image) -> tf.Tensor:
        return tf.io.decode_png(image.encoded, channels=4, name=_UNDECODABLE)

    def one(image: _Image) -> tf.Tensor:
        return tf.size(tf.cond(image.is_png, lambda: png(image), lambda: jpeg(image)))

    return tf.map_fn(
        one,
        _Image(encoded, *headers),
        fn_output_signature=tf.int32,
        parallel_iterations=at_a_time,
    )


def _decode(image: _Image, sides: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([sides]):  # which are refused first
        encoded = tf.identity(image.encoded)
    pixels = tf.cond(image.is_png, lambda: _decode_png(encoded), lambda: _decode_jpeg(encoded))
    pixels = upright(pixels, exif_orientation(encoded, image.is_png))
    return tf.ensure_shape(pixels, [None, None, 3])


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def upright_sizes(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width, int32 [N, 2], that `decode_image` gives PNG or JPEG files, string [N].

    Reads their headers only; errors as above for those that have none.
    """

    def one(image: _Image) -> tf.Tensor:
        sides = _sides(image)
        orientation = exif_orientation(image.encoded, image.is_png)
        return tf.where(orientation >= 5, sides[::-1], sides)

    with tf.device("/CPU:0"):
        given = _Image(encoded, *_headers(encoded))
        return tf.map_fn(one, given, fn_output_signature=tf.TensorSpec([2], tf.int32))


def pack_pixels(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [N, ...] -> string [N], the raw bytes of each row-major image."""
    size = tf.reduce_prod(tf.shape(pixels)[1:])
    # A serialized TensorProto ends in the tensor's bytes; no operation writes them alone.
    protos = tf.map_fn(tf.io.serialize_tensor, pixels, fn_output_signature=tf.string)
    return tf.strings.substr(protos, -size, size)


def unpack_pixels(packed: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """string [N] of raw bytes -> uint8 [N, H, W, C], the inverse of `pack_pixels`."""
    return tf.reshape(tf.io.decode_raw(packed, tf.uint8), [-1, *image_shape])


def reason_unusable(encoded: bytes) -> str | None:
    """Why an image cannot be used, in a few words, or None. Eager and per image: for the rare."""
    if not encoded:
        return "empty image"
    if encoded.startswith(_PNG):
        kind = "PNG"
    elif encoded.startswith(_JPEG):
        kind = "JPEG"
    else:
        for magic, name in _OTHER_FORMATS.items():
            if encoded.startswith(magic):
                return f"{name} image, not PNG or JPEG"
        return "not a PNG or JPEG image"
    try:
        decode_image(tf.constant(encoded))
    except tf.errors.InvalidArgumentError as error:
        if "more than" in error.message:
            return f"{kind} larger than {MAX_PIXELS} pixels"
        return f"truncated or corrupt {kind}"
    return None


class _Image(NamedTuple):
    """One image, or N of them along the first axis."""

    encoded: tf.Tensor  # string []
    is_png: tf.Tensor  # bool []
    png_sides: tf.Tensor  # int32 [2], height and width of a PNG, and 0 of a JPEG


def _headers(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`is_png` and `png_sides` of images, string [N]; refuses what is not to be decoded.

    For all of them at once: of a thumbnail looking at its header takes as long as decoding it.
    """
    is_png = _starts_with(encoded, _PNG)
    known = tf.debugging.Assert(
        tf.reduce_all(is_png | _starts_with(encoded, _JPEG)), ["images: not a PNG or JPEG image"]
    )
    whole = tf.debugging.Assert(
        tf.reduce_all(~is_png | (tf.strings.length(encoded) >= _IHDR_END)),
        ["images: truncated PNG image"],
    )
    # Something to read of each, however short.
    head = tf.strings.join([tf.strings.substr(encoded, 0, _IHDR_END), b"\0" * _IHDR_END])
    sides = tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False)
    sides = tf.where(is_png[:, None], sides[:, ::-1], 0)
    with tf.control_dependencies([known, whole]):
        return tf.identity(is_png), _bounded(sides)


def _only(encoded: tf.Tensor) -> _Image:
    """One image, string []."""
    is_png, sides = _headers(encoded[None])
    return _Image(encoded, is_png[0], sides[0])


def _sides(image: _Image) -> tf.Tensor:
    """Height and width in an image's header, int32 [2]; refuses what is not to be decoded."""

    def jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(image.encoded, name=_UNDECODABLE)
        return _bounded(shape[:2])

    return tf.ensure_shape(tf.cond(image.is_png, lambda: image.png_sides, jpeg), [2])


def _bounded(sides: tf.Tensor) -> tf.Tensor:
    """int32 [..., 2] as they are, where none announces too many pixels."""
    # A side beyond 2^31 reads as a negative number; one of 0 is left to the decoder.
    fits = tf.reduce_all(sides >= 0) & tf.reduce_all(_count(sides) <= MAX_PIXELS)
    bounded = tf.debugging.Assert(fits, [f"images: more than {MAX_PIXELS} pixels:", sides])
    with tf.control_dependencies([bounded]):
        return tf.identity(sides)


def _count(sides: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(sides, tf.int64), axis=-1)


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    kind = tf.io.decode_raw(tf.strings.substr(encoded, 24, 2), tf.uint8)
    depth, colour = kind[0], kind[1]

    def palette() -> tf.Tensor:
        rgb_or_rgba = tf.io.decode_png(encoded, channels=0, name=_UNDECODABLE)
        missing = 4 - tf.shape(rgb_or_rgba)[-1]
        return tf.pad(rgb_or_rgba, [[0, 0], [0, 0], [0, missing]], constant_values=255)

    def up_to_eight_bits() -> tf.Tensor:
        return tf.io.decode_png(encoded, channels=4, name=_UNDECODABLE)

    def sixteen_bits() -> tf.Tensor:
        wide = tf.io.decode_png(encoded, channels=4, dtype=tf.uint16, name=_UNDECODABLE)
        # (wide + 128) // 257, as 65535 / 255 = 257, without leaving sixteen bits: from 65408 on
        # all are 255.
        wide = tf.minimum(wide, tf.constant(65535 - 128, tf.uint16))
        return tf.cast(
            (wide + tf.constant(128, tf.uint16)) // tf.constant(257, tf.uint16), tf.uint8
        )

    # Not tf.switch_case, which tf.Transform cannot hash.
    rgba = tf.cond(colour == 3, palette, lambda: tf.cond(depth > 8, sixteen_bits, up_to_eight_bits))
    # The decoder makes up an alpha of 2^depth - 1 where there is none: 255 for eight bits, but
    # nearly transparent for images of 2, 4 or 16 grays or palette entries.
    few = (depth < 8) & (colour != 3)
    made_up = tf.where(few, tf.bitwise.left_shift(tf.constant(1, tf.uint8), depth) - 1, 255)
    alpha = rgba[..., 3:]
    alpha = tf.where(alpha == made_up, tf.constant(255, tf.uint8), alpha)
    return tf.cond(
        tf.reduce_all(alpha == 255),
        lambda: rgba[..., :3],
        lambda: _composite_over_white(rgba[..., :3], alpha),
    )


def _composite_over_white(rgb: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    # Sixteen bits are enough: rgb · alpha + 255 · (255 - alpha) <= 255 · 255.
    rgb, alpha = tf.cast(rgb, tf.uint16), tf.cast(alpha, tf.uint16)
    return tf.cast((rgb * alpha + (255 * (255 - alpha) + 127)) // 255, tf.uint8)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    # CMYK and YCCK come out as RGB too.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE", name=_UNDECODABLE)


def _fit(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Centre-crops uint8 [h, w, 3] to the aspect ratio height:width and resizes it."""
    # Rounded to nearest, in 64 bits: sides multiply.
    h, w = tf.unstack(tf.shape(pixels, tf.int64)[:2])
    crop_h = tf.clip_by_value((2 * w * height + width) // (2 * width), 1, h)
    crop_w = tf.clip_by_value((2 * h * width + height) // (2 * height), 1, w)
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    crop = pixels[top : top + crop_h, left : left + crop_w]

    def resized() -> tf.Tensor:
        scaled = tf.image.resize(crop, [height, width], method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(scaled), 0.0, 255.0), tf.uint8)

    # Resizing to the same size changes nothing, and takes longer than decoding.
    fitted = tf.cond((crop_h == height) & (crop_w == width), lambda: crop, resized)
    return tf.ensure_shape(fitted, [height, width, 3])


def _luma(rgb: tf.Tensor) -> tf.Tensor:
    weighted = tf.cast(rgb, tf.int32) * tf.constant([19595, 38470, 7471])
    luma = tf.bitwise.right_shift(tf.reduce_sum(weighted, axis=-1, keepdims=True) + 2**15, 16)
    return tf.cast(luma, tf.uint8)


def _starts_with(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(magic)) == magic
