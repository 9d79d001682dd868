"""Pictures that the Trainers make: tiled, and enlarged without being blurred."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components.trainer.pictures import image_grid, write_png


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_keeps_images_apart_and_in_place(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, channels), "uint8")
    grid = image_grid(images).numpy()
    assert grid.shape == (2 * 5 - 1, 3 * 6 - 1, channels)
    for row, column in np.ndindex(2, 3):
        tile = grid[5 * row :, 6 * column :][:4, :5]
        np.testing.assert_array_equal(tile, images[row, column])
    for line in (grid[4], grid[:, 5], grid[:, 11]):
        assert len(np.unique(line)) == 1


@pytest.mark.parametrize(
    ("width", "side"), [(8, 100), (71, 11), (231, 3), (400, 2), (401, 1), (1031, 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_enlarged_by_whole_pixels(tmp_path, width, side, channels):
    picture = np.random.default_rng(0).integers(0, 256, (6, width, channels), "uint8")
    write_png(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        written = np.asarray(image).reshape(6 * side, width * side, channels)
    for corner in (0, side - 1):
        np.testing.assert_array_equal(written[corner::side, corner::side], picture)
