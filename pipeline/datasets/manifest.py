"""`dataset.json`: what a data set holds, written last, so that it marks a complete one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "dataset.json"
# Goes up when the records that are written for the same images change.
FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """One TFRecord file."""

    file: str  # relative to the data set
    images: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The description of a data set.

    `label_names[i]` is the name of label i, or `label_names` is None where labels have no names
    or there are none. `height` and `width` are the smallest and the largest in pixels. Of the
    files that were left out, `skipped_files`, some are `damaged_files`: images all the same.
    """

    name: str
    fingerprint: str
    images: dict[str, int]
    labelled: bool
    label_names: list[str] | None
    height: tuple[int, int]
    width: tuple[int, int]
    skipped_files: int
    shards: list[Shard]
    damaged_files: int = 0
    format: int = FORMAT

    def describe(self) -> str:
        """One line for the user."""
        size = f"{_range(self.height)}×{_range(self.width)}"
        splits = " and ".join(f"{count:,} {split}" for split, count in self.images.items())
        classes = f", {len(self.label_names)} classes" if self.label_names else ""
        files = f"{len(self.shards)} file{'s' * (len(self.shards) != 1)}"
        return f"{self.name}: {splits} images of {size}{classes}, in {files}"

    def same_data(self, name: str, fingerprint: str) -> bool:
        """Whether making `name` from a source of `fingerprint` would write this again."""
        return (self.name, self.fingerprint, self.format) == (name, fingerprint, FORMAT)

    def damage(self, folder: Path) -> str | None:
        """The first shard of `folder` that is not as it was written, and how; None if all are."""
        for shard in self.shards:
            path = folder / shard.file
            if not path.is_file():
                return f"{shard.file} is missing"
            if path.stat().st_size != shard.bytes:
                return f"{shard.file} has {path.stat().st_size} bytes instead of {shard.bytes}"
        return None

    def to_json(self) -> str:
        """Text that is the same for the same data."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read(folder: Path) -> Manifest | None:
    """The description of the data set at `folder`; None where there is none that can be read."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        shards = [Shard(**shard) for shard in values.pop("shards")]
        return Manifest(shards=shards, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _range(bounds: tuple[int, int]) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low}–{high}"
