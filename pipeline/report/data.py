"""Facts about the data of a run: counts, labels, pixels, codes, and what was left out."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components import features

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
    """split -> label -> records, of Examples that Transform or the Tokenizer wrote."""
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.int64)}
    counts: dict[str, dict[int, int]] = {}
    for folder in sorted(Path(examples).glob("Split-*")):
        split: Counter[int] = Counter()
        for batch in records(folder).batch(_BATCH).map(lambda x: tf.io.parse_example(x, spec)):
            labels, number = np.unique(batch[features.LABEL].numpy(), return_counts=True)
            split.update(dict(zip(labels.tolist(), number.tolist(), strict=True)))
        counts[folder.name.removeprefix("Split-")] = dict(sorted(split.items()))
    return counts


def read_pixels(transformed: str) -> Pixels | None:
    """The constants that Transform repeats on every record; None for an empty split."""
    column = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    spec = {features.PIXEL_MEAN: column, features.PIXEL_VARIANCE: column}
    for record in records(Path(transformed, "Split-train")).take(1):
        parsed = tf.io.parse_single_example(record, spec)
        return Pixels(
            parsed[features.PIXEL_MEAN].numpy().tolist(),
            parsed[features.PIXEL_VARIANCE].numpy().tolist(),
        )
    return None


def count_codes(tokens: str, num_codes: int) -> np.ndarray:
    """How often each code occurs in the held-out split; int64 [K].

    Args:
        tokens: the Tokenizer's Examples.
        num_codes: K, size of the codebook.
    """
    dtype = features.code_dtype(num_codes)
    spec = {features.CODES: tf.io.FixedLenFeature([], tf.string)}
    counts = np.zeros(num_codes, np.int64)
    for batch in records(Path(tokens, "Split-eval")).batch(_BATCH):
        stored = tf.io.parse_example(batch, spec)[features.CODES].numpy()
        counts += np.bincount(np.frombuffer(b"".join(stored), dtype), minlength=num_codes)
    return counts


def records(split: Path) -> tf.data.Dataset:
    """Serialized Examples of one split, in file order."""
    files = sorted(str(path) for path in split.glob("*") if path.is_file())
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file
