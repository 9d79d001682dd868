"""Facts about the data of a run: counts, labels, pixels, codes, and what was left out."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components import contents, features
from components.record_files import read_records

_BATCH = 1024
_REJECTED_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Ingested:
    """What ImageExampleGen counted.

    Attributes:
        records: all that were read.
        rejected: records without a usable image.
        reasons: reason -> records, most frequent first.
        splits: split -> records kept.
        shown: the first rejected records: (file, number in the file, reason).
    """

    records: int
    rejected: int
    reasons: dict[str, int]
    splits: dict[str, int]
    shown: list[tuple[str, int, str]]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Mean and variance per channel over the training split, of pixel / 255."""

    mean: list[float]
    variance: list[float]


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The data; None or empty for what the run did not reach."""

    ingested: Ingested | None = None
    # What ExampleValidator found, "split: feature: description"; empty for sound data.
    anomalies: list[str] | None = None
    # split -> label -> images; NO_LABEL stands for none.
    labels: dict[str, dict[int, int]] = dataclasses.field(default_factory=dict)
    pixels: Pixels | None = None


def read_ingested(examples: str) -> Ingested:
    """What ImageExampleGen left in `rejected/` of its artifact."""
    folder = Path(examples, "rejected")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    lines = itertools.chain.from_iterable(_lines(path) for path in sorted(folder.glob("*.jsonl")))
    shown = [json.loads(line) for line in itertools.islice(lines, _REJECTED_SHOWN)]
    return Ingested(
        records=summary["records"],
        rejected=summary["rejected"],
        reasons=summary["reasons"],
        splits=summary["splits"],
        shown=[(each["file"], each["record"], each["reason"]) for each in shown],
    )


def read_anomalies(uri: str) -> list[str]:
    """Every anomaly that ExampleValidator recorded, as one line."""
    found = []
    for path in sorted(Path(uri).glob("Split-*/SchemaDiff.pb")):
        anomalies = anomalies_pb2.Anomalies.FromString(path.read_bytes())
        split = path.parent.name.removeprefix("Split-")
        infos = dict(anomalies.anomaly_info)
        if anomalies.HasField("dataset_anomaly_info"):
            infos["data set"] = anomalies.dataset_anomaly_info
        found += [f"{split}: {name}: {info.description}" for name, info in sorted(infos.items())]
    return found


def count_labels(examples: str) -> dict[str, dict[int, int]]:
    """split -> label -> records, of Examples that Transform or the Tokenizer wrote.

    A split of more labels than are counted has none.
    """
    return {split: held.labels or {} for split, held in contents.read(examples).splits.items()}


def read_pixels(transformed: str) -> Pixels | None:
    """What Transform found of the training images; None for an empty split."""
    sums = contents.read(transformed).splits["train"].pixels
    return Pixels(sums.mean, sums.variance) if sums else None


def count_codes(tokens: str, num_codes: int, codebooks: int = 1) -> np.ndarray:
    """How often each code occurs in the held-out split; int64 [B·K], codebook by codebook.

    Args:
        tokens: the Tokenizer's Examples.
        num_codes: K, size of a codebook.
        codebooks: B; with more than 1 each of the B codes of a position has its own.
    """
    dtype = features.code_dtype(num_codes)
    spec = {features.CODES: tf.io.FixedLenFeature([], tf.string)}
    counts = np.zeros(codebooks * num_codes, np.int64)
    first = num_codes * np.arange(codebooks)
    for batch in records(Path(tokens, "Split-eval")).batch(_BATCH):
        stored = tf.io.parse_example(batch, spec)[features.CODES].numpy()
        codes = np.frombuffer(b"".join(stored), dtype).reshape(-1, codebooks) + first
        counts += np.bincount(codes.ravel(), minlength=len(counts))
    return counts


def records(split: Path) -> tf.data.Dataset:
    """Serialized Examples of one split, in file order."""
    files = list(contents.files([f"{split}/*"]))
    return tf.data.Dataset.from_tensor_slices(files).flat_map(read_records)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file
