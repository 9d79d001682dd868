"""Every pixel format that Pillow opens comes out right, or is refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import images
from pipeline.datasets.image_file import UnknownRange, UnusableImage, png_or_jpeg

RAMP = np.linspace(0, 1, 64).repeat(4).reshape(16, 16)  # 64 levels
BYTES = np.rint(RAMP * 255).astype(np.uint8)
WORDS = np.rint(RAMP * 65535).astype(np.uint16)

Image.init()


def gray_levels(data: bytes) -> np.ndarray:
    """Gray levels [16, 16] of a file, as the models see them."""
    pixels = images.decode_image(tf.constant(png_or_jpeg(data))).numpy()
    if pixels.shape != (16, 16, 3):  # ICNS has its own sizes
        step = pixels.shape[0] // 16
        pixels = pixels[step // 2 :: step, step // 2 :: step]
    return pixels.mean(-1)


def is_ramp(levels: np.ndarray, tolerance: float = 1) -> bool:
    return bool(np.abs(levels - BYTES).max() <= tolerance)


# --- every mode and format ----------------------------------------------------------------------


def in_mode(mode: str) -> Image.Image:
    gray = Image.fromarray(BYTES)
    if mode == "F":
        return Image.fromarray(RAMP.astype(np.float32))
    if mode == "I":
        return Image.fromarray(WORDS.astype(np.int32))
    if mode.startswith("I;16"):
        order = ">" if mode == "I;16B" else "<"
        return Image.frombytes(mode, (16, 16), WORDS.astype(f"{order}u2").tobytes())
    if mode in ("La", "RGBa"):
        return gray.convert(mode.upper()).convert(mode)
    if mode == "CMYK":
        return gray.convert("RGB").convert(mode)
    if mode == "LAB":
        neutral = Image.new("L", gray.size, 128)
        return Image.merge(mode, (gray, neutral, neutral))
    return gray.convert(mode)


def writable() -> dict[str, bytes]:
    """Mode and format -> file, of all that Pillow writes here and identifies again."""
    found = {}
    for mode in Image.MODES:
        for kind in sorted(Image.SAVE):
            buffer = io.BytesIO()
            try:
                in_mode(mode).save(buffer, kind)
                Image.open(io.BytesIO(buffer.getvalue())).close()
            except Exception:  # each says in its own way that it has no such thing
                continue
            found[f"{mode}-{kind}"] = buffer.getvalue()
    return found


FILES = writable()
WIDE = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")
# What Pillow makes another picture of when it writes, as its own reading shows.
EIGHT_BITS_ONLY = ("AVIF", "GIF", "WEBP")
WRITTEN_OTHERWISE = {f"{mode}-{kind}" for mode in WIDE for kind in EIGHT_BITS_ONLY}
WRITTEN_OTHERWISE |= {"I;16B-JPEG2000", "I;16B-ICNS"}
TOLERANCES = {"WEBP": 5, "AVIF": 3, "JPEG": 3, "MPO": 3, "ICNS": 3}
# No range can be told.
REFUSED = {"I-IM", "I-TIFF"} | {name for name in FILES if name.endswith("-SPIDER")} - {"F-SPIDER"}
UNREADABLE = {
    *(name for name in FILES if name.endswith("-EPS")),  # needs Ghostscript
    "YCbCr-TIFF",  # Pillow cannot read what it wrote
}


def test_there_are_many_modes_and_formats():
    assert len(FILES) > 120
    modes, kinds = (set(part) for part in zip(*(n.rsplit("-", 1) for n in FILES), strict=True))
    assert {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "F", *WIDE} <= modes
    assert {"PNG", "JPEG", "TIFF", "PPM", "GIF", "BMP", "WEBP", "JPEG2000", "DDS"} <= kinds


@pytest.mark.parametrize("name", sorted(set(FILES) - WRITTEN_OTHERWISE))
def test_a_ramp_is_a_ramp_or_refused(name):
    mode, kind = name.rsplit("-", 1)
    if name in REFUSED:
        with pytest.raises(UnknownRange, match=r"black (and|to) white"):
            png_or_jpeg(FILES[name])
    elif name in UNREADABLE:
        with pytest.raises(UnusableImage, match=f"unsupported {kind}"):
            png_or_jpeg(FILES[name])
    elif mode == "1":
        levels = gray_levels(FILES[name])
        with Image.open(io.BytesIO(FILES[name])) as image:
            expected = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.NEAREST))
        assert np.abs(levels - expected).max() <= TOLERANCES.get(kind, 0)
        assert levels.min() < 5
        assert levels.max() > 250
    elif mode == "LAB":  # lightness, which sRGB follows to a few levels
        levels = gray_levels(FILES[name])
        assert is_ramp(levels, 12)
        assert (np.diff(levels.ravel()[::4]) > 0).all() or kind != "TIFF"
    elif name == "RGBA-GIF":  # sixteen grays are what Pillow's own reduction leaves of it
        assert is_ramp(gray_levels(FILES[name]), 8)
    else:
        levels = gray_levels(FILES[name])
        assert is_ramp(levels, TOLERANCES.get(kind, 1))
        assert len(np.unique(levels)) >= 64


# --- TIFF ---------------------------------------------------------------------------------------

_TYPES = {"u": 1, "i": 2, "f": 3}


def tiff(
    numbers: np.ndarray,
    *,
    bits: int | None = None,
    white_is_zero: bool = False,
    declared: tuple[float, float] | None = None,
    orientation: int = 1,
) -> bytes:
    """An uncompressed gray TIFF of numbers [H, W], in their byte order and type."""
    order = ">" if numbers.dtype.byteorder == ">" else "<"
    height, width = numbers.shape
    pixels = numbers.tobytes()
    if bits == 12:  # two numbers in three bytes
        low, high = numbers.reshape(-1, 2).T.astype(np.uint32)
        packed = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], -1)
        pixels = packed.astype(np.uint8).tobytes()
    bits = bits or 8 * numbers.itemsize
    tags = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [bits]),
        (259, "H", [1]),
        (262, "H", [0 if white_is_zero else 1]),
        (273, "I", [8]),
        (274, "H", [orientation]),
        (277, "H", [1]),
        (278, "H", [height]),
        (279, "I", [len(pixels)]),
        (339, "H", [_TYPES[numbers.dtype.kind]]),
    ]
    if declared is not None:
        tags += [(340, "f", [declared[0]]), (341, "f", [declared[1]])]
    codes = {"H": 3, "I": 4, "f": 11}
    directory = struct.pack(order + "H", len(tags))
    for tag, code, values in tags:
        value = struct.pack(f"{order}{len(values)}{code}", *values).ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, codes[code], len(values)) + value
    start = struct.pack(
        order + "2sHI", b"MM" if order == ">" else b"II", 42, 8 + len(pixels) + len(pixels) % 2
    )
    return start + pixels + b"\0" * (len(pixels) % 2) + directory + b"\0\0\0\0"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        (BYTES, {}),
        (255 - BYTES, {"white_is_zero": True}),
        (BYTES.astype(np.int16) - 128, {"kind": "i1", "declared": (-128, 127)}),
        (WORDS, {}),
        (WORDS / 65535 * 2000 - 1000, {"kind": "i2", "declared": (-1000, 1000)}),
        (RAMP * (2**31 - 1), {"kind": "i4", "declared": (0, 2**31 - 1)}),
        (RAMP, {"kind": "f4"}),
        (RAMP * 255, {"kind": "f4", "declared": (0, 255)}),
        (RAMP * 3 - 1, {"kind": "f4", "declared": (-1, 2)}),
    ],
)
def test_tiffs_of_every_type_and_byte_order(numbers, options, order):
    options = dict(options)
    kind = options.pop("kind", numbers.dtype.str[1:])
    if kind[0] in "iu":
        numbers = np.rint(numbers)
    encoded = tiff(numbers.astype(order + kind), **options)
    levels = gray_levels(encoded)
    assert is_ramp(levels)
    assert len(np.unique(levels)) == 64


def test_tiffs_that_pillow_reads_in_one_byte_order_only():
    assert is_ramp(gray_levels(tiff(65535 - WORDS, white_is_zero=True)))
    assert is_ramp(gray_levels(tiff(1 - RAMP.astype("<f4"), white_is_zero=True)))
    assert is_ramp(gray_levels(tiff(np.rint(RAMP * 4095).astype("<u2"), bits=12)))
    unsigned = np.rint(RAMP * (2**32 - 1)).astype("<u4")
    assert is_ramp(gray_levels(tiff(unsigned, declared=(0, 2**32 - 1))))


def test_sixteen_bits_stay_as_they_are():
    for order in "<>":
        with Image.open(io.BytesIO(png_or_jpeg(tiff(WORDS.astype(order + "u2"))))) as image:
            np.testing.assert_array_equal(np.asarray(image), WORDS)


@pytest.mark.parametrize(
    ("numbers", "declared", "said"),
    [
        (RAMP * 255, None, "32-bit floats from 0 to 255, but 0 to 1 is black to white; scale"),
        (RAMP - 0.5, None, "32-bit floats from -0.5 to 0.5, but 0 to 1 is"),
        (RAMP * 255, (0, 100), "32-bit floats from 0 to 255, but 0 to 100 is"),
        (RAMP, (1, 1), "32-bit floats from 0 to 1, but 1 to 1 is"),
        (np.where(RAMP == 1, np.nan, RAMP), None, "that are NaN or infinite"),
        (np.where(RAMP == 1, np.inf, RAMP), (0, 1), "that are NaN or infinite"),
        (
            (RAMP * 70000).astype("<i4"),
            None,
            "32-bit integers from 0 to 70000 and does not say which are black",
        ),
        ((RAMP * 255).astype("<i4"), None, "32-bit integers from 0 to 255 and does not say"),
        ((RAMP * 255).astype("<i2"), None, "integers from 0 to 255 and does not say"),
        ((RAMP * 127).astype("i1"), None, "8-bit integers from 0 to 127 and does not say"),
    ],
)
def test_numbers_without_a_range_are_refused_with_the_mend(numbers, declared, said):
    numbers = numbers.astype("<f4") if numbers.dtype.kind == "f" else numbers
    with pytest.raises(UnknownRange) as caught:
        png_or_jpeg(tiff(numbers, declared=declared))
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    if "NaN" not in message:
        assert "SMinSampleValue and SMaxSampleValue" in message


def test_what_resampling_leaves_beyond_the_range_is_cut_off():
    beyond = (RAMP * 1.002 - 0.001).astype("<f4")
    assert is_ramp(gray_levels(tiff(beyond)))


# --- other formats ------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "order"), [(-1.0, "<"), (1.0, ">"), (-255.0, "<")])
def test_pfm_is_scaled_by_its_scale(scale, order):
    numbers = (RAMP[::-1] * abs(scale)).astype(order + "f4")  # the lowest row comes first
    assert is_ramp(gray_levels(b"Pf\n16 16\n%.1f\n" % scale + numbers.tobytes()))


@pytest.mark.parametrize("maximum", [1, 63, 255, 1023, 4095, 65535])
def test_pgm_is_scaled_by_its_maximum(maximum):
    numbers = np.rint(RAMP * maximum)
    kind = "u1" if maximum < 256 else ">u2"
    raw = b"P5\n16 16\n%d\n" % maximum + numbers.astype(kind).tobytes()
    plain = b"P2\n16 16\n%d\n" % maximum + b" ".join(b"%d" % n for n in numbers.ravel())
    for encoded in (raw, plain):
        np.testing.assert_allclose(
            gray_levels(encoded), np.rint(numbers / maximum * 255), atol=1 if maximum > 255 else 0
        )


def test_fits_that_pillow_misreads_is_refused():
    cards = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": "16", "NAXIS2": "16"}
    header = "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items())
    encoded = (header + "END".ljust(80)).ljust(2880).encode() + RAMP.astype(">f4").tobytes()
    with Image.open(io.BytesIO(encoded)) as image:  # numbers of the other byte order
        assert not np.allclose(np.asarray(image)[::-1], RAMP)
    with pytest.raises(UnknownRange, match="32-bit floats"):
        png_or_jpeg(encoded)


def test_no_image_and_a_damaged_one_are_told_apart():
    with pytest.raises(UnusableImage, match="not an image that Pillow reads"):
        png_or_jpeg(b"a text")
    with pytest.raises(UnusableImage, match="not an image that Pillow reads"):
        png_or_jpeg(b"")
    whole = FILES["RGB-BMP"]
    with pytest.raises(UnusableImage, match="truncated, corrupt or unsupported BMP"):
        png_or_jpeg(whole[: len(whole) // 2])


def test_png_and_jpeg_are_kept_to_the_byte():
    for name in ("RGB-PNG", "I;16-PNG", "L-JPEG", "RGB-MPO"):
        assert png_or_jpeg(FILES[name]) is FILES[name]
    assert png_or_jpeg(FILES["RGB-PNG"][:30]) == FILES["RGB-PNG"][:30]  # the decoder tells


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "AVIF"])
def test_orientation_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner = np.zeros((16, 24, 3), np.uint8)
    corner[:8, :8] = 255, 0, 0
    buffer = io.BytesIO()
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    Image.fromarray(corner).save(buffer, kind, exif=exif, **lossless)
    pixels = images.decode_image(tf.constant(png_or_jpeg(buffer.getvalue()))).numpy()
    where = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    where |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert pixels.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    row, column = where[orientation]
    assert pixels[row, column, 0] > 200
    red = pixels[..., 0] > 128
    assert abs(int(red.sum()) - 64) <= 8


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<f4"])
def test_wide_tiffs_are_turned_too(kind, orientation):
    scale = {"u1": 255, "<u2": 65535, ">u2": 65535, "<f4": 1}[kind]
    encoded = tiff((RAMP * scale).round(9).astype(kind), orientation=orientation)
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    expected = np.rot90(np.rint((RAMP * scale).astype(kind) / scale * 255), turns)
    assert np.abs(gray_levels(encoded) - expected).max() <= 1
