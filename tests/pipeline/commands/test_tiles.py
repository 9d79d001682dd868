"""`vqvae encode --tiles` and `vqvae decode` of what it wrote: pictures of any size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.inference import codes_file
from tests.fixtures import tiny_models
from tests.fixtures.commands import refused, vqvae

SIZES = {
    "a.png": (4, 6),
    "b/wide.png": (4, 30),
    "c.png": (14, 18),
    "d.png": (3, 2),
    "e.png": (9, 7),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    candidate = tiny_models.write(folder / "candidate")
    tiny_models.publish(folder / "serving", candidate, config=tiny_models.CONFIG)
    tiny_models.publish(folder / "unknown", candidate)
    other = {"model": {**tiny_models.CONFIG["model"], "encoder": {"downsampling": [1, 2]}}}
    tiny_models.publish(folder / "other", candidate, config=tiny_models.CONFIG | other)
    return folder / "serving"


def blocks(height: int, width: int) -> np.ndarray:
    """A picture whose 2×2 blocks are levels that have a code."""
    rows, columns = -(-height // 2), -(-width // 2)
    codes = np.random.default_rng(height).integers(0, tiny_models.NUM_CODES, (rows, columns))
    levels = (codes * 16 + 8).astype(np.uint8)
    return levels.repeat(2, 0).repeat(2, 1)[:height, :width]


@pytest.fixture
def pictures(tmp_path) -> dict[str, np.ndarray]:
    """By name, as they lie in `in`."""
    made = {name: blocks(*size) for name, size in SIZES.items()}
    for name, pixels in made.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny_models.png(pixels))
    return made


def test_pictures_of_any_size_there_and_back(store, pictures, tmp_path):
    codes = tmp_path / "codes.npz"
    said = vqvae("encode", "--tiles", tmp_path / "in", "--out", codes, "--store", store)
    assert said == f"{codes}: codes of 5 images\n"
    stored = codes_file.read(codes)
    assert stored.names.tolist() == list(SIZES)
    assert stored.sizes.tolist() == [list(size) for size in SIZES.values()]
    assert stored.pixels_per_code.tolist() == [2, 2]
    assert stored.codes.shape == (5, 7, 15)
    np.testing.assert_array_equal(stored.codes[2, :7, :9], pictures["c.png"][::2, ::2] // 16)
    said = vqvae("decode", codes, "--out", tmp_path / "out", "--store", store)
    assert said == f"{tmp_path / 'out'}: 5 images\n"
    for name, pixels in pictures.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / name)), pixels)


def test_a_picture_of_the_releases_size_has_the_codes_it_always_has(store, pictures, tmp_path):
    arguments = (tmp_path / "in" / "a.png", "--store", store, "--out")
    vqvae("encode", *arguments, tmp_path / "plain.npz")
    vqvae("encode", "--tiles", *arguments, tmp_path / "tiles.npz")
    plain, tiles = (codes_file.read(tmp_path / f"{each}.npz") for each in ("plain", "tiles"))
    np.testing.assert_array_equal(tiles.codes, plain.codes)
    assert plain.pixels_per_code is None
    formats = [int(np.load(tmp_path / f"{each}.npz")["format"]) for each in ("plain", "tiles")]
    assert formats == [2, 3]


def test_a_bad_picture_is_named_and_nothing_is_written(store, pictures, tmp_path):
    bad = tmp_path / "in" / "c.png"
    bad.write_bytes(bad.read_bytes()[:40])
    out = tmp_path / "out" / "codes.npz"
    message = refused("encode", "--tiles", tmp_path / "in", "--out", out, "--store", store)
    assert message.startswith(f"{bad}: Invalid PNG")
    assert not out.parent.exists()


def test_what_does_not_go_together_is_refused(store, pictures, tmp_path):
    codes = tmp_path / "codes.npz"
    encode = ("encode", "--tiles", tmp_path / "in", "--out", codes)
    assert "--tiles uses a release on disk" in refused(*encode, "--server", "here:1")
    message = refused("encode", "--tiles", "--data", "d", "--out", "x")
    assert message.endswith("--tiles is for FILES; leave it or --data out.")
    message = refused(*encode, "--store", store.parent / "unknown")
    assert message.startswith("release 1: its manifest does not say which networks it has")
    vqvae(*encode, "--store", store)
    message = refused("decode", "--data", tmp_path, "--out", tmp_path / "out", "--store", store)
    assert message.startswith(f"{codes}: its pictures were encoded in tiles; decode it by itself")
    decode = ("decode", codes, "--out", tmp_path / "out")
    message = refused(*decode, "--store", store.parent / "other")
    assert message.startswith(f"{codes}: each code stands for 2×2 pixels, but for 1×2 in release 1")
    stored = codes_file.read(codes)
    for size, said in (((0, 2), "0×2 pixels"), ((99, 2), "99×2 pixels would have 50×3 codes")):
        sizes = np.array([size] * 5, np.int32)
        codes_file.write(codes, dataclasses.replace(stored, sizes=sizes))
        message = refused(*decode, "--store", store)
        assert message.startswith(f"{codes}: a.png of {said}")
    assert not (tmp_path / "out").exists()
