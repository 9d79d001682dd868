"""Decoding, cropping and resizing inside the graph, compared with Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import images

SHAPE = (24, 24, 3)


def encode(pixels, mode=None, format="PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels), mode)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture without symmetries that JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = [255 * x / width, 255 * y / height, 255 * (x + 2 * y) / (width + 2 * height), 0 * x]
    return np.stack(ramps[:channels], -1).astype(np.uint8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@tf.function(reduce_retracing=True)
def traced(encoded, shape):
    return images.preprocess_images(encoded, shape)


def preprocess(encoded: bytes | list[bytes], shape=SHAPE) -> np.ndarray:
    batch = encoded if isinstance(encoded, list) else [encoded]
    result = traced(tf.constant(batch, tf.string), shape).numpy()
    return result if isinstance(encoded, list) else result[0]


def test_images_of_the_target_size_pass_bit_by_bit():
    rgb, gray = noise(*SHAPE), noise(24, 24)
    np.testing.assert_array_equal(preprocess(encode(rgb)), rgb)
    np.testing.assert_array_equal(preprocess(encode(gray), (24, 24, 1))[..., 0], gray)
    np.testing.assert_array_equal(preprocess(encode(gray)), np.stack([gray] * 3, -1))


def test_sizes_are_those_of_the_decoded_image():
    picture = Image.fromarray(smooth(30, 40))
    files = [encode(picture), encode(noise(7, 3)), encode(picture, format="JPEG")]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files += [encode(picture, format=kind, exif=exif) for kind in ("PNG", "JPEG")]
    sizes = images.upright_sizes(tf.constant(files)).numpy()
    decoded = [images.decode_image(tf.constant(each)).shape[:2] for each in files]
    np.testing.assert_array_equal(sizes, decoded)
    assert images.upright_sizes(tf.constant([], tf.string)).shape == (0, 2)
    for bad in (b"", b"GIF89a", files[0][:20], files[2][:30]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            images.upright_sizes(tf.constant([files[0], bad]))


def test_a_batch_mixes_formats_and_may_be_empty():
    rgb = noise(*SHAPE)
    result = preprocess([encode(smooth(30, 40), format="JPEG"), encode(rgb)])
    assert result.shape == (2, *SHAPE)
    np.testing.assert_array_equal(result[1], rgb)
    assert preprocess([]).shape == (0, *SHAPE)


def test_luma_is_pillows():
    rgb = noise(24, 24, 3)
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_array_equal(preprocess(encode(rgb), (24, 24, 1))[..., 0], expected)


def test_alpha_is_composited_over_white():
    rgba = noise(24, 24, 4)
    white = Image.new("RGBA", (24, 24), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(rgba)))[..., :3]
    assert np.abs(preprocess(encode(rgba)).astype(int) - expected).max() <= 1
    gray_alpha = noise(24, 24, 2)
    expected = (gray_alpha[..., 0] / 255 * gray_alpha[..., 1]) + (255 - gray_alpha[..., 1])
    result = preprocess(encode(Image.fromarray(gray_alpha, "LA")), (24, 24, 1))[..., 0]
    assert np.abs(result - expected).max() <= 1


def test_palette_images_with_and_without_transparency():
    palette = Image.fromarray(smooth(24, 24)).quantize(17)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(preprocess(encode(palette)), expected)
    hidden = palette.getpixel((3, 4))
    result = preprocess(encode(palette, transparency=hidden))
    transparent = np.asarray(palette) == hidden
    assert (result[transparent] == 255).all()
    np.testing.assert_array_equal(result[~transparent], expected[~transparent])


def test_sixteen_bit_png_is_rounded_to_eight():
    wide = np.random.default_rng(2).integers(0, 2**16, (24, 24), dtype=np.uint16)
    result = preprocess(encode(Image.fromarray(wide)), (24, 24, 1))[..., 0]
    np.testing.assert_array_equal(result, np.round(wide / 257).astype(np.uint8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_grays_and_palettes_of_few_bits(bits, transparent):
    index = noise(24, 24) >> (8 - bits)
    gray = (index * (255 // (2**bits - 1))).astype(np.uint8)
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :]).tobytes()
        for row in index
    )
    palette = smooth(1, 2**bits)[0]
    for colour, expected in ((0, np.stack([gray] * 3, -1)), (3, palette[index])):
        chunks = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 24, bits, colour, 0, 0, 0))
        if colour == 3:
            chunks += png_chunk(b"PLTE", palette.tobytes())
        if transparent:  # of the gray 1, or of the palette's entries 0 (opaque) and 1
            chunks += png_chunk(b"tRNS", b"\0\x01" if colour == 0 else b"\xff\0")
            expected = np.where((index == 1)[..., None], 255, expected)
        chunks += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
        np.testing.assert_array_equal(preprocess(b"\x89PNG\r\n\x1a\n" + chunks), expected)


def test_cmyk_jpeg_becomes_rgb():
    encoded = encode(smooth(24, 24, 4), "CMYK", "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    assert np.abs(preprocess(encoded) - expected).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(48, 80), (80, 48), (7, 50), (1, 3), (200, 24)])
def test_centre_crop_then_antialiased_resize(height, width):
    pixels = smooth(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = Image.fromarray(pixels[top : top + side, left : left + side])
    expected = np.asarray(crop.resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
    result = preprocess(encode(pixels))
    assert np.abs(result - expected).max() <= (2 if side > 3 else 64)
    if side == 24:
        np.testing.assert_array_equal(result, np.asarray(crop))


def test_crop_follows_the_targets_aspect_ratio():
    pixels = noise(20, 60, 3)
    np.testing.assert_array_equal(preprocess(encode(pixels), (20, 40, 3)), pixels[:, 10:50])


def bomb_png() -> bytes:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def bomb_jpeg() -> bytes:
    encoded = bytearray(encode(smooth(24, 24), format="JPEG"))
    frame = encoded.index(b"\xff\xc0")
    encoded[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(encoded)


PNG = encode(noise(40, 40, 3))
JPEG = encode(smooth(40, 40), format="JPEG")
UNUSABLE = {
    "empty": (b"", "empty image"),
    "truncated png": (PNG[: len(PNG) // 2], "truncated or corrupt PNG"),
    "png signature only": (PNG[:8], "truncated or corrupt PNG"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated or corrupt JPEG"),
    "jpeg start only": (JPEG[:4], "truncated or corrupt JPEG"),
    "gif": (encode(noise(9, 9, 3), format="GIF"), "GIF image, not PNG or JPEG"),
    "bmp": (encode(noise(9, 9, 3), format="BMP"), "BMP image, not PNG or JPEG"),
    "webp": (encode(noise(9, 9, 3), format="WEBP"), "WebP image, not PNG or JPEG"),
    "tiff": (encode(noise(9, 9, 3), format="TIFF"), "TIFF image, not PNG or JPEG"),
    "text": (b"no image at all", "not a PNG or JPEG image"),
    "png bomb": (bomb_png(), f"PNG larger than {images.MAX_PIXELS} pixels"),
    "jpeg bomb": (bomb_jpeg(), f"JPEG larger than {images.MAX_PIXELS} pixels"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_bytes_are_refused_naming_the_input(case):
    encoded, reason = UNUSABLE[case]
    with pytest.raises(tf.errors.InvalidArgumentError, match="images"):
        preprocess([PNG, encoded])
    assert images.reason_unusable(encoded) == reason


def test_usable_images_have_no_reason():
    assert images.reason_unusable(PNG) is None
    assert images.reason_unusable(JPEG) is None


def test_pixels_survive_packing():
    pixels = noise(5, *SHAPE)
    packed = images.pack_pixels(tf.constant(pixels)).numpy()
    assert [bytes(one) for one in packed] == [one.tobytes() for one in pixels]
    np.testing.assert_array_equal(images.unpack_pixels(packed, SHAPE), pixels)
    assert images.pack_pixels(tf.zeros([0, *SHAPE], tf.uint8)).shape == (0,)


def test_more_channels_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels"):
        images.preprocess_images(tf.constant([PNG]), (24, 24, 4))


@pytest.mark.slow
def test_damaged_files_are_decoded_or_refused_by_name():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = smooth(24, 24)[..., 0].astype(np.uint16) * 200
    seeds = [
        encode(smooth(24, 24), exif=exif.tobytes()),
        encode(Image.fromarray(smooth(24, 24)).quantize(5), transparency=1),
        encode(Image.fromarray(wide)),
        encode(smooth(24, 24), format="JPEG", exif=exif.tobytes()),
        encode(smooth(24, 24, 4), "CMYK", "JPEG"),
        encode(smooth(24, 24), format="JPEG", progressive=True),
    ]
    check = tf.function(images.check_images, input_signature=[tf.TensorSpec([None], tf.string)])
    rng = np.random.default_rng(0)
    refused = []
    for i in range(3000):
        damaged = bytearray(seeds[i % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            reach = len(damaged) if rng.random() < 0.5 else min(60, len(damaged))  # headers more
            damaged[rng.integers(0, reach)] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del damaged[rng.integers(0, len(damaged) + 1) :]
        try:
            assert preprocess(bytes(damaged)).shape == SHAPE
        except tf.errors.InvalidArgumentError as error:
            refused.append(error.message)
            # What ingestion asks before any image is decoded says the same.
            with pytest.raises(tf.errors.InvalidArgumentError):
                check([bytes(damaged)])
        else:
            check([bytes(damaged)])
    assert all("images" in message for message in refused)
    assert 1000 < len(refused) < 3000
