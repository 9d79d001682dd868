"""Data for ImageExampleGen, its runs, and what came of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx import v1 as tfx

from components.example_gen.component import ImageExampleGen
from components.example_gen.config import FeatureNames


def picture(seed: int, format: str = "PNG", side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def example(image: bytes | None = None, label=None, **more) -> bytes:
    values = {"image": image, "label": label, **more}
    feature = {}
    for name, value in values.items():
        if value is None:
            continue
        listed = value if isinstance(value, list) else [value]
        if isinstance(listed[0], bytes):
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=listed))
        elif isinstance(listed[0], float):
            feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=listed))
        else:
            feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=listed))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def good(count: int, start: int = 0) -> list[bytes]:
    return [example(picture(start + i), i % 10) for i in range(count)]


def write(path: Path, records: list[bytes], compression: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if compression is None:
        compression = "GZIP" if path.suffix == ".gz" else ""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


class Run:
    """Runs of one pipeline that holds ImageExampleGen alone."""

    def __init__(self, root: Path):
        self.root = root
        self.rejected = root / "logs" / "rejected.jsonl"

    def __call__(self, data, max_rejected_fraction=0.01, code_version="1", **names) -> Path:
        component = ImageExampleGen(
            str(data),
            features=FeatureNames(**names),
            code_version=code_version,
            max_rejected_fraction=max_rejected_fraction,
            rejected_path=str(self.rejected),
        )
        connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(self.root / "metadata.sqlite")
        )
        pipeline = tfx.dsl.Pipeline(
            "ingest",
            str(self.root / "pipeline"),
            components=[component],
            enable_cache=True,
            metadata_connection_config=connection,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return Path(self.artifacts()[-1].uri)

    def artifacts(self):
        from ml_metadata.metadata_store import metadata_store

        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(self.root / "metadata.sqlite")
        store = metadata_store.MetadataStore(config)
        live = metadata_store_pb2.Artifact.LIVE
        return [one for one in store.get_artifacts_by_type("Examples") if one.state == live]


def read(uri: Path, split: str) -> list[bytes]:
    files = sorted(str(path) for path in (uri / f"Split-{split}").iterdir())
    return [bytes(r.numpy()) for r in tf.data.TFRecordDataset(files, "GZIP")] if files else []


def summary(uri: Path) -> dict:
    return json.loads((uri / "rejected" / "summary.json").read_text())


def features(record: bytes) -> dict[str, list]:
    found = tf.train.Example.FromString(record).features.feature
    return {name: list(getattr(one, one.WhichOneof("kind")).value) for name, one in found.items()}


def assert_nothing_left(run: Run) -> None:
    assert not run.artifacts()
    assert not list(run.root.glob("pipeline/**/*.gz"))
