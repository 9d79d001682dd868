"""`vqvae encode`, `decode` and `sample`, from a release on disk and from a server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.commands.cli import cli
from pipeline.datasets.writer import write_dataset
from pipeline.inference import codes_file
from tests.fixtures import tiny_models
from tests.fixtures.commands import refused, vqvae
from tests.fixtures.tiny_models import expected_codes, pixels_of, png, some_images, write_images


def test_there_and_back(where, tmp_path):
    paths = write_images(tmp_path / "in", 300)
    said = vqvae("encode", *paths, "--out", tmp_path / "codes.npz", *where)
    assert said == f"{tmp_path / 'codes.npz'}: codes of 300 images\n"
    stored = codes_file.read(tmp_path / "codes.npz")
    np.testing.assert_array_equal(stored.codes, expected_codes(some_images(300), "b"))
    assert stored.names.tolist() == [path.name for path in paths]
    assert stored.sizes.tolist() == [[4, 6]] * 300
    assert (stored.release, stored.codebook_sha256) == (3, tiny_models.codebook_sha256("b"))
    said = vqvae("decode", tmp_path / "codes.npz", "--out", tmp_path / "out", *where)
    assert said == f"{tmp_path / 'out'}: 300 images\n"
    for path, expected in zip(paths, some_images(300), strict=True):
        np.testing.assert_array_equal(pixels_of(tmp_path / "out" / path.name), expected)
    assert len(os.listdir(tmp_path / "out")) == 300


def test_folders_keep_their_layout_and_equal_names_apart(where, tmp_path):
    write_images(tmp_path / "in" / "a", 2)
    write_images(tmp_path / "in" / "b" / "c", 2)
    (tmp_path / "in" / "b" / "notes.txt").write_text("no image")
    vqvae("encode", tmp_path / "in", "--out", tmp_path / "codes.npz", *where)
    names = codes_file.read(tmp_path / "codes.npz").names.tolist()
    assert names == ["a/000.png", "a/001.png", "b/c/000.png", "b/c/001.png"]
    vqvae("decode", tmp_path / "codes.npz", "--out", tmp_path / "out", *where)
    found = [str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.png")]
    assert sorted(found) == names


def test_sizes_are_those_of_the_upright_image(store, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    gray = np.zeros([20, 30, 3], np.uint8)
    (tmp_path / "a.jpg").write_bytes(png(gray, "JPEG", exif=turned))
    (tmp_path / "b.jpg").write_bytes(png(gray, "JPEG"))
    (tmp_path / "c.png").write_bytes(png(gray))
    (tmp_path / "d.png").write_bytes(png(gray, exif=turned))
    (tmp_path / "e.webp").write_bytes(png(gray, "WEBP", exif=turned))
    vqvae("encode", tmp_path, "--out", tmp_path / "codes.npz", "--store", store)
    sizes = codes_file.read(tmp_path / "codes.npz").sizes.tolist()
    assert sizes == [[30, 20], [20, 30], [20, 30], [30, 20], [30, 20]]


def test_a_bad_image_is_named_and_nothing_is_written(where, tmp_path):
    paths = write_images(tmp_path / "in", 200)
    paths[150].write_bytes(paths[150].read_bytes()[:40])
    paths[160].write_bytes(b"")
    message = refused("encode", *paths, "--out", tmp_path / "out" / "codes.npz", *where)
    assert message.startswith(f"{paths[150]}: Invalid PNG")
    assert not (tmp_path / "out").exists()
    missing = tmp_path / "nowhere.png"
    message = refused("encode", missing, "--out", tmp_path / "codes.npz", *where)
    assert message == f"{missing}: No such file or directory"


FORMATS = {
    **{"a.png": "PNG", "b.jpg": "JPEG", "C.JPG": "JPEG", "d.jfif": "JPEG", "e.jpe": "JPEG"},
    **{"f.webp": "WEBP", "g.bmp": "BMP", "h.tif": "TIFF", "i.gif": "GIF", "noext": "PNG"},
}


def test_a_folder_gives_every_image_whatever_its_format_and_name(where, tmp_path):
    """And as many as `vqvae data folder` takes of it."""
    photos = tmp_path / "classes" / "photos"
    (photos / "deeper").mkdir(parents=True)
    pixels = dict(zip(FORMATS, some_images(len(FORMATS)), strict=True))
    for name, kind in FORMATS.items():
        options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
        (photos / name).write_bytes(png(pixels[name], kind, **options))
    wide = tmp_path / "elsewhere"
    wide.mkdir()
    (wide / "j.tif").write_bytes(png((some_images(1)[0] * 257.0).astype(">u2"), "TIFF"))
    (photos / "link").symlink_to(wide)
    (photos / "notes.txt").write_text("no image")
    (photos / "deeper" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(photos / "pipe")
    (photos / ".hidden.png").write_bytes(b"")
    said = vqvae("encode", photos, "--out", tmp_path / "codes.npz", *where)
    assert said.splitlines() == [
        f"left out 3 files: {photos / 'deeper' / 'gone.png'} (not a file), {photos / 'notes.txt'} "
        f"(not an image that Pillow reads), {photos / 'pipe'} (not a file)",
        f"{tmp_path / 'codes.npz'}: codes of 11 images",
    ]
    stored = codes_file.read(tmp_path / "codes.npz")
    names = sorted([*FORMATS, "link/j.tif"])
    assert stored.names.tolist() == names
    assert stored.sizes.tolist() == [[4, 6]] * 11
    expected = [pixels.get(name, some_images(1)[0]) for name in names]
    np.testing.assert_array_equal(stored.codes, expected_codes(np.stack(expected), "b"))
    made = write_dataset("folder", tmp_path / "data", photos.parent)
    assert sum(made.manifest.records.values()) == 11
    assert made.manifest.skipped_files == 3
    # Their pictures go by the names of the images, without what says the format.
    vqvae("decode", tmp_path / "codes.npz", "--out", tmp_path / "out", *where)
    decoded = [str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.png")]
    assert sorted(decoded) == sorted(f"{Path(name).with_suffix('')}.png" for name in names)


def test_many_files_that_are_left_out_are_counted(store, tmp_path):
    write_images(tmp_path / "in", 1)
    for number in range(9):
        (tmp_path / "in" / f"{number}.txt").write_text("no image")
    arguments = ("--out", tmp_path / "codes.npz", "--store", store)
    result = CliRunner().invoke(cli, ["encode", str(tmp_path / "in"), *map(str, arguments)])
    assert result.exit_code == 0
    assert result.stderr.startswith("left out 9 files: ")
    assert result.stderr.count(".txt (not an image that Pillow reads), ") == 5
    assert result.stderr.endswith(", …\n")
    assert result.stdout == f"{tmp_path / 'codes.npz'}: codes of 1 image\n"


def test_what_cannot_be_encoded_is_named_in_the_order_of_the_files(store, tmp_path):
    paths = write_images(tmp_path / "in", 3)
    out = ("--out", tmp_path / "out" / "codes.npz", "--store", store)
    (tmp_path / "empty").mkdir()
    assert refused("encode", paths[0], tmp_path / "empty", *out) == (
        f"{tmp_path / 'empty'}: holds no image"
    )
    (tmp_path / "empty" / "a.txt").write_text("no image")
    (tmp_path / "b.txt").write_text("no image either")
    assert refused("encode", tmp_path / "empty", *out) == (
        f"{tmp_path / 'empty'}: holds no image; left out 1 file: {tmp_path / 'empty' / 'a.txt'} "
        "(not an image that Pillow reads)"
    )
    message = refused("encode", *paths, tmp_path / "b.txt", *out)
    assert message == f"{tmp_path / 'b.txt'}: not an image that Pillow reads"
    floats = tmp_path / "in" / "floats.tif"
    Image.fromarray(np.full([4, 6], 200, np.float32)).save(floats)
    message = refused("encode", tmp_path / "in", *out)
    assert message.startswith(f"{floats}: holds 32-bit floats from 200 to 200, but 0 to 1 is")
    paths[1].write_bytes(b"\x89PNG\r\n\x1a\n, and no more")  # comes before it
    assert refused("encode", tmp_path / "in", *out).startswith(f"{paths[1]}: ")
    assert not (tmp_path / "out").exists()


def test_sample_is_the_same_from_disk_and_server(store, server, tmp_path):
    for name, where in {"disk": ("--store", store), "server": ("--server", server.target)}.items():
        said = vqvae(
            *("sample", "--out", tmp_path / name, "--count", 130, "--seed", 5, "--label", 3),
            *where,
        )
        assert said == f"{tmp_path / name}: 130 images\n"
    disk, served = (codes_file.read(tmp_path / each / "codes.npz") for each in ("disk", "server"))
    np.testing.assert_array_equal(disk.codes, served.codes)
    assert len(np.unique(disk.codes, axis=0)) == 130
    assert disk.labels.tolist() == [3] * 130
    assert disk.sizes.tolist() == [[4, 6]] * 130
    for name in disk.names:
        assert (tmp_path / "disk" / name).read_bytes() == (tmp_path / "server" / name).read_bytes()
    # A file of samples decodes to the samples.
    vqvae("decode", tmp_path / "disk" / "codes.npz", "--out", tmp_path / "again", "--store", store)
    for name in disk.names:
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "again" / name), pixels_of(tmp_path / "disk" / name)
        )


def test_more_samples_begin_with_the_fewer(store, tmp_path):
    for count in (3, 70):
        vqvae("sample", "--out", tmp_path / str(count), "--count", count, "--store", store)
    fewer, more = (codes_file.read(tmp_path / each / "codes.npz").codes for each in ("3", "70"))
    np.testing.assert_array_equal(more[:3], fewer)


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, -(2**63), 2**70])
def test_any_seed(store, tmp_path, seed):
    vqvae("sample", "--out", tmp_path / "out", "--count", 65, "--seed", seed, "--store", store)


def test_a_label_that_the_model_does_not_have(where, tmp_path):
    message = refused("sample", "--out", tmp_path / "out", "--label", 99, *where)
    assert "labels must be -1 to 9: 99" in message
    assert not (tmp_path / "out").exists()


def test_names_never_lead_out_and_never_meet(store, tmp_path):
    names = [
        *("../up.png", "/root.png", "a/../../b.png", "..", "x.png", "x.jpg", "x.png", "v1.5"),
        "c\\d.png",
    ]
    pixels = some_images(len(names))
    codes = codes_file.Codes(
        expected_codes(pixels, "b"),
        np.array(names, dtype=np.str_),
        np.zeros([len(names), 2], np.int32),
        3,
        tiny_models.codebook_sha256("b"),
    )
    codes_file.write(tmp_path / "c.npz", codes)
    vqvae("decode", tmp_path / "c.npz", "--out", tmp_path / "deep" / "out", "--store", store)
    expected = [
        *("up.png", "root.png", "a/b.png", "image.png", "x.png", "x-2.png", "x-3.png", "v1.5.png"),
        "c/d.png",
    ]
    for name, image in zip(expected, pixels, strict=True):
        np.testing.assert_array_equal(pixels_of(tmp_path / "deep" / "out" / name), image)
    assert sorted(os.listdir(tmp_path)) == ["c.npz", "deep"]
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_no_file_is_replaced_and_no_link_is_followed(store, codes_of_a, tmp_path):
    target = tmp_path / "in" / "001.png"
    before = target.read_bytes()
    arguments = ("decode", codes_of_a, "--store", store, "--out")
    message = refused(*arguments, tmp_path / "in")
    assert message.endswith("in/000.png: is there already; name a new folder")
    assert target.read_bytes() == before
    assert len(os.listdir(tmp_path / "in")) == 3
    shutil.rmtree(tmp_path / "in")
    write_images(tmp_path / "in" / "a", 1)
    write_images(tmp_path / "in" / "b", 1)
    vqvae("encode", tmp_path / "in", "--out", codes_of_a, "--store", store)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    assert "a link leads out of" in refused(*arguments, tmp_path / "out")
    assert os.listdir(tmp_path / "elsewhere") == []
    assert os.listdir(tmp_path / "out") == ["a"]


def test_codes_that_the_model_cannot_use_name_the_file(where, tmp_path):
    codes = codes_file.Codes(
        np.full([2, 2, 3], 99, np.int32),
        np.array(["a", "b"]),
        np.zeros([2, 2], np.int32),
        3,
        tiny_models.codebook_sha256("b"),
    )
    codes_file.write(tmp_path / "c.npz", codes)
    message = refused("decode", tmp_path / "c.npz", "--out", tmp_path / "out", *where)
    assert message.startswith(f"{tmp_path / 'c.npz'}: codes must be 0 to 15. Received: ")
    assert not (tmp_path / "out").exists()


def test_no_release_and_no_server(tmp_path):
    message = refused("sample", "--out", tmp_path / "out", "--root", tmp_path)
    assert message.startswith(f"nothing has been released to {tmp_path / 'serving'} yet")
    message = refused(
        *("sample", "--out", tmp_path / "out", "--server", "localhost:1", "--timeout", 1)
    )
    assert message.startswith("localhost:1: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "--out", "x"), "Name the FILES"),
        (("decode", "--out", "x"), "Name a file of CODES"),
        (("encode", "a.png", "--data", "d", "--out", "x"), "Either FILES or --data"),
        (("encode", "a.png", "--skip-unusable", "--out", "x"), "is for --data"),
        (("encode", "--data", "d", "--server", "h:1", "--out", "x"), "leave --server out"),
        (("encode", "a", "--server", "h:1", "--store", "s", "--out", "x"), "--store names"),
        (("sample", "--timeout", "3", "--out", "x"), "--timeout is about a server"),
        (("sample", "--guidance", "2", "--out", "x"), "--guidance needs a --label"),
    ],
)
def test_usage(arguments, message):
    assert message in refused(*arguments)
