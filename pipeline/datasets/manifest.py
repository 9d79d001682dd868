"""`dataset.json`: what a data set holds, written last, so that it marks a complete one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.datasets.facts import AudioFacts, Facts, ImageFacts

FILE = "dataset.json"
# Goes up when the records that are written for the same source change.
FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """One TFRecord file."""

    file: str  # relative to the data set
    records: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The description of a data set.

    `label_names[i]` is the name of label i, or `label_names` is None where labels have no names
    or there are none. Of the files that were left out, `skipped_files`, some are `damaged_files`:
    images or audio all the same. In the file, counts of records have the name of their kind.
    """

    name: str
    fingerprint: str
    records: dict[str, int]  # split -> how many
    labelled: bool
    label_names: list[str] | None
    facts: Facts
    skipped_files: int
    shards: list[Shard]
    damaged_files: int = 0
    format: int = FORMAT

    def describe(self) -> str:
        """One line for the user."""
        splits = " and ".join(f"{count:,} {split}" for split, count in self.records.items())
        names = self.label_names
        classes = f", {len(names)} {self.facts.WORDS.labels}" if names else ""
        files = f"{len(self.shards)} file{'s' * (len(self.shards) != 1)}"
        return f"{self.name}: {splits} {self.facts}{classes}, in {files}"

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
        counted = self.facts.WORDS.records
        values: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name == "facts":
                values |= value
            elif name == "shards":
                values[name] = [_renamed(shard, "records", counted) for shard in value]
            else:
                values[name] = value
        text = json.dumps(_renamed(values, "records", counted), indent=2, ensure_ascii=False)
        return text + "\n"


def read(folder: Path) -> Manifest | None:
    """The description of the data set at `folder`; None where there is none that can be read."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        kind: type[Facts]
        kind = AudioFacts if AudioFacts.WORDS.records in values else ImageFacts
        counted = kind.WORDS.records
        facts = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        shards = [Shard(**_renamed(each, counted, "records")) for each in values.pop("shards")]
        return Manifest(facts=facts, shards=shards, **_renamed(values, counted, "records"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _renamed(values: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same entries in the same order, one of them under another name."""
    return {new if name == old else name: value for name, value in values.items()}
