"""Pictures larger than the networks were trained on, in tiles, against the whole at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.config import NetworkConfig
from models.vqvae import VQVAE
from pipeline.inference.tiling import Axis, Tiling


def network(height: int, width: int, **encoder) -> NetworkConfig:
    encoder = {"hidden_units": 8, "downsampling": 4, **encoder}
    quantizer = {"num_codes": 32, "embedding_dim": 4}
    image = {"height": height, "width": width, "channels": 1}
    model = {"encoder": encoder, "quantizer": quantizer, "decoder": {"residual_blocks": 1}}
    return NetworkConfig.model_validate({"image": image, "model": model})


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth and with noise on it."""
    y, x = np.mgrid[:height, :width]
    waves = 60 * np.sin(y / 9) + 50 * np.cos(x / 13) + 128
    noise = np.random.default_rng(seed).normal(0, 8, (height, width))
    return np.clip(waves + noise, 0, 255).astype("uint8")[..., None]


def strengthen(*of_one_seed: VQVAE) -> None:
    """Gives what fresh decoders make about the contrast of pictures, to all the same."""
    first = of_one_seed[0]
    codes = np.random.default_rng(0).integers(0, 32, (4, *first.config.code_shape), "int32")
    contrast = np.std(first.parameters(codes))
    for each in of_one_seed:
        *_, last = (weight for weight in each.decoder.variables if len(weight.shape) > 1)
        last.assign(last * 0.2 / contrast)


@pytest.mark.parametrize(
    ("downsampling", "residual_blocks", "tile", "size"),
    [
        (4, 0, (32, 48), (72, 96)),
        (4, 1, (32, 48), (70, 45)),  # neither whole codes nor, across, a whole tile
        ([2, 8], 0, (24, 64), (40, 120)),
    ],
)
def test_tiles_give_what_the_whole_picture_would(downsampling, residual_blocks, tile, size):
    sizes = {"downsampling": downsampling, "residual_blocks": residual_blocks}
    config, pixels = network(*tile, **sizes), picture(*size)
    tiling = Tiling.of(config)
    rows, columns = tiling.grid_of(*size)
    down, across = tiling.factors
    small = VQVAE(config, 0.1, seed=4)
    whole = VQVAE(network(rows * down, columns * across, **sizes), 0.1, seed=4)
    padded = np.pad(
        pixels,
        [(0, rows * down - size[0]), (0, columns * across - size[1]), (0, 0)],
        mode="edge",
    )[None]
    for each in (small, whole):
        each.quantizer.initialize(whole.encodings(padded))
    strengthen(small, whole)
    expected = whole.encode(padded).numpy()[0]
    codes = tiling.encode(pixels, lambda tiles: small.encode(tiles).numpy())
    assert len(np.unique(expected)) > 8
    np.testing.assert_array_equal(codes, expected)
    decoded = tiling.decode(codes, *size, lambda codes: small.decode(codes).numpy())
    expected = whole.decode(codes[None]).numpy()[0, : size[0], : size[1]]
    assert expected.std() > 5
    np.testing.assert_allclose(decoded.astype(int), expected, atol=1)


def test_one_tile_is_the_picture_itself():
    config, pixels = network(16, 16), picture(16, 16)
    vqvae, tiling = VQVAE(config, 0.1, seed=4), Tiling.of(config)
    codes = tiling.encode(pixels, lambda tiles: vqvae.encode(tiles).numpy())
    np.testing.assert_array_equal(codes, vqvae.encode(pixels[None])[0])
    decoded = tiling.decode(codes, 16, 16, lambda codes: vqvae.decode(codes).numpy())
    np.testing.assert_array_equal(decoded, vqvae.decode(codes[None])[0])


def test_a_network_that_sees_all_of_an_image_leaves_no_seam():
    config = network(16, 32, kind="resnet", residual_blocks=0, attention_at=[4])
    vqvae, tiling, pixels = VQVAE(config, 0.1, seed=4), Tiling.of(config), picture(40, 76)
    assert tiling.encoder is None
    codes = tiling.encode(pixels, lambda tiles: vqvae.encode(tiles).numpy())
    alone = []

    def decode(codes: np.ndarray) -> np.ndarray:
        alone.extend(tiles := vqvae.decode(codes).numpy())
        return tiles

    decoded = tiling.decode(codes, 40, 76, decode)
    for axis, length, size in ((0, 10, 4), (1, 19, 8)):
        starts = Axis.over(length, size, None).starts
        borders = sorted({each for start in starts for each in (start, start + size)} - {0, length})
        found = steps(decoded, axis)[np.array(borders) * 4 - 1]
        inside = np.mean([steps(each, axis)[3::4] for each in alone], axis=0)
        assert found.mean() < 1.1 * inside.mean()


def steps(image: np.ndarray, axis: int) -> np.ndarray:
    """How much each row or column differs from the one before."""
    return np.abs(np.diff(image.astype(int), axis=axis)).mean(axis=(1 - axis, 2))


def test_tiles_that_do_not_agree_at_all_pass_linearly_into_each_other():
    config = network(16, 16, kind="resnet", residual_blocks=0)
    levels = itertools.cycle([0, 120])

    def flat(codes: np.ndarray) -> np.ndarray:
        return np.stack([np.full([16, 16, 1], next(levels), "uint8") for _ in codes])

    # Tiles of 4 codes whose starts are 0, 2, 4.
    decoded = Tiling.of(config).decode(np.zeros([4, 8], np.int32), 16, 32, flat)[0, :, 0]
    assert decoded[0] == decoded[-1] == 0
    assert 100 <= decoded.max() <= 120
    assert np.abs(np.diff(decoded.astype(int))).max() <= 120 / 8 + 1


@pytest.mark.parametrize("reach", [None, 0, 1, 2, 9])
@pytest.mark.parametrize(("length", "size"), [(4, 4), (5, 4), (9, 4), (23, 8), (7, 1), (10, 2)])
def test_every_code_and_pixel_is_shared_out_once(length, size, reach):
    axis = Axis.over(length, size, reach)
    assert axis.starts[0] == 0
    assert axis.starts[-1] == length - size
    assert axis.cuts == sorted(axis.cuts)
    margin = reach if axis.exact else 0
    total = np.zeros(length * 3)
    for index, start in enumerate(axis.starts):
        first, last = axis.cuts[index : index + 2]
        assert first - start >= (margin if index else 0)
        assert start + size - last >= (margin if index < len(axis.starts) - 1 else 0)
        total[start * 3 : (start + size) * 3] += axis.weights(index, 3)
    np.testing.assert_allclose(total, 1, atol=1e-6)
