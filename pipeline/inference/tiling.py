"""Pictures larger than a release was trained on: overlapping tiles of the size it was trained on.

Convolutions know no size, but the signatures of a release do. So a picture is cut into tiles, and
of what comes out of each the inner part is kept:

- where a code depends on few codes around it, as in the `paper` networks, tiles overlap by twice
  that reach. Every code and every pixel is then what the networks would make of the whole picture;
- `resnet` networks look at all of an image, by attention and by the mean and variance of group
  normalization. What their tiles make is another image at the same places: tiles overlap by half,
  codes are taken from the tile in which they lie furthest inside, and pixels pass linearly from
  one tile to the next, so that no seam shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from components.errors import PipelineError
from components.release_store.release import Release
from models.config import NetworkConfig
from models.memory import images_at_once
from models.networks import reach
from pipeline.inference.models import BATCH, BATCH_BYTES

Networks = Callable[[np.ndarray], np.ndarray]  # of a batch of tiles, the first axis


class Reach(NamedTuple):
    """Codes on each side that decide a code or its pixels, along rows and columns."""

    rows: int
    columns: int


class Axis(NamedTuple):
    """Tiles along one axis of a picture, in codes.

    Attributes:
        starts: of the tiles, evenly spread.
        size: of a tile.
        cuts: where one tile takes over from the one before, and both ends of the picture.
        exact: both tiles make the same where one takes over.
    """

    starts: list[int]
    size: int
    cuts: list[int]
    exact: bool

    @classmethod
    def over(cls, length: int, size: int, reach: int | None) -> Axis:
        """Tiles of `size` over `length` codes, which is at least as many.

        Neighbours overlap by twice `reach`, the codes on each side that matter, where a tile has
        more than that; else, and for None, by half.
        """
        exact = reach is not None and 2 * reach < size
        margin = reach if reach is not None and exact else size // 4
        steps = math.ceil((length - size) / (size - 2 * margin))
        starts = [round(each * (length - size) / max(steps, 1)) for each in range(steps + 1)]
        inner = [(one + size + next_one) // 2 for one, next_one in itertools.pairwise(starts)]
        return cls(starts, size, [0, *inner, length], exact)

    def weights(self, index: int, factor: int) -> np.ndarray:
        """Share of a tile in each of its pixels, float32 [size · factor]; all tiles' sum is 1."""
        places = np.arange(self.size * factor) + self.starts[index] * factor + 0.5
        return self._passed(index, places, factor) - self._passed(index + 1, places, factor)

    def _passed(self, cut: int, places: np.ndarray, factor: int) -> np.ndarray:
        """How far a cut's tile has taken over, 0 to 1: all of it beyond the picture's ends."""
        if cut in (0, len(self.starts)):
            return np.full(places.shape, 1 - min(cut, 1), np.float32)
        middle = (self.starts[cut - 1] + self.size + self.starts[cut]) * factor / 2
        spacing = min(b - a for a, b in itertools.pairwise(self.starts)) * factor
        overlap = (self.starts[cut - 1] + self.size - self.starts[cut]) * factor
        # Not into the region where the next tile takes over in turn.
        width = 0.0 if self.exact else min(overlap, spacing)
        if not width:
            return (places > middle).astype(np.float32)
        return np.clip((places - middle) / width + 0.5, 0, 1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How pictures are cut for a release.

    Attributes:
        image: height, width and channels of a tile.
        grid: rows and columns of its codes.
        encoder, decoder: how far they see; None for all of an image.
        at_once: tiles that they are given together.
    """

    image: tuple[int, int, int]
    grid: tuple[int, int]
    encoder: Reach | None
    decoder: Reach | None
    at_once: int

    @classmethod
    def of(cls, network: NetworkConfig) -> Tiling:
        """How pictures are cut for these networks."""
        encoder, decoder = reach(network.model)
        pixels = max(BATCH_BYTES // network.image.size, 1)
        return cls(
            network.image.hwc,
            network.code_grid,
            encoder and Reach(*encoder),
            decoder and Reach(*decoder),
            min(images_at_once(network), pixels, BATCH),
        )

    @classmethod
    def of_release(cls, release: Release) -> Tiling:
        """How pictures are cut for a release.

        Raises:
            PipelineError: its manifest does not say which networks it has.
        """
        config = release.manifest.get("config", {})
        try:
            image, model = config["data"]["image"], config["model"]
            return cls.of(NetworkConfig(image=image, model=model))
        except (KeyError, TypeError, ValidationError) as error:
            raise PipelineError(
                f"release {release.version}: its manifest does not say which networks it has, "
                "which tiles depend on; leave --tiles out, or use another release"
            ) from error

    @property
    def factors(self) -> tuple[int, int]:
        """Rows and columns of pixels that a code stands for."""
        return self.image[0] // self.grid[0], self.image[1] // self.grid[1]

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the codes of a picture, which has at least one tile."""
        sides, factors = (height, width), self.factors
        rows, columns = (
            max(size, -(-side // factor))
            for side, factor, size in zip(sides, factors, self.grid, strict=True)
        )
        return rows, columns

    def encode(self, picture: np.ndarray, run: Networks) -> np.ndarray:
        """Codes of a picture.

        Args:
            picture: uint8 [height, width, C] of any size. Up to the next whole code, or a whole
                tile, its last row and column are repeated.
            run: codes int32 [n, h, w(, g)] of tiles uint8 [n, H, W, C].

        Returns:
            int32 [*grid_of(height, width)(, g)].
        """
        grid = self.grid_of(*picture.shape[:2])
        missing = [
            (0, size * factor - side)
            for size, factor, side in zip(grid, self.factors, picture.shape[:2], strict=True)
        ]
        picture = np.pad(picture, [*missing, (0, 0)], mode="edge")
        rows, columns = self._axes(grid, self.encoder)
        codes: np.ndarray | None = None
        places = list(itertools.product(range(len(rows.starts)), range(len(columns.starts))))
        cut = (self._pixels(picture, rows.starts[i], columns.starts[j]) for i, j in places)
        for (i, j), made in zip(places, self._run(cut, run), strict=True):
            if codes is None:
                codes = np.empty([*grid, *made.shape[2:]], np.int32)
            (top, bottom), (left, right) = rows.cuts[i : i + 2], columns.cuts[j : j + 2]
            y, x = rows.starts[i], columns.starts[j]
            codes[top:bottom, left:right] = made[top - y : bottom - y, left - x : right - x]
        assert codes is not None
        return codes

    def decode(self, codes: np.ndarray, height: int, width: int, run: Networks) -> np.ndarray:
        """The picture of codes.

        Args:
            codes: int32 [*grid_of(height, width)(, g)].
            height, width: of the picture.
            run: tiles uint8 [n, H, W, C] of codes int32 [n, h, w(, g)].

        Returns:
            uint8 [height, width, C].
        """
        grid, (tall, wide, channels) = codes.shape[:2], self.image
        rows, columns = self._axes(grid, self.decoder)
        down, across = self.factors
        picture = np.empty([height, width, channels], np.uint8)
        shares = [columns.weights(j, across)[:, None] for j in range(len(columns.starts))]
        # The rows from the start of a row of tiles on: what is above it is done.
        band = np.zeros([tall, grid[1] * across, channels], np.float32)
        for i, y in enumerate(rows.starts):
            share = rows.weights(i, down)[:, None, None]
            cut = (codes[y : y + self.grid[0], x : x + self.grid[1]] for x in columns.starts)
            for x, of_column, made in zip(columns.starts, shares, self._run(cut, run), strict=True):
                band[:, x * across : x * across + wide] += made * (share * of_column)
            end = rows.starts[i + 1] if i + 1 < len(rows.starts) else y + self.grid[0]
            done = (end - y) * down
            into = picture[y * down : end * down]
            into[:] = np.rint(band[: len(into), :width])
            band[: tall - done] = band[done:]
            band[tall - done :] = 0
        return picture

    def _axes(self, grid: tuple[int, ...], seen: Reach | None) -> tuple[Axis, Axis]:
        reaches = seen or (None, None)
        rows, columns = (
            Axis.over(length, size, each)
            for length, size, each in zip(grid, self.grid, reaches, strict=True)
        )
        return rows, columns

    def _pixels(self, picture: np.ndarray, row: int, column: int) -> np.ndarray:
        """The tile whose first code is there, [H, W, C]."""
        (down, across), (height, width, _) = self.factors, self.image
        top, left = row * down, column * across
        return picture[top : top + height, left : left + width]

    def _run(self, tiles: Iterable[np.ndarray], run: Networks) -> Iterator[np.ndarray]:
        """What becomes of each tile; a few of them at a time."""
        remaining = iter(tiles)
        while batch := list(itertools.islice(remaining, self.at_once)):
            yield from run(np.stack(batch))
