"""A run on disk, small enough to make in seconds, with real files of every kind a report reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components import features
from components.trainer.records import parse_images
from models.config import NetworkConfig, PriorConfig
from models.export import export_release
from models.images import preprocess_images
from models.prior import GatedPixelCNN
from models.vqvae import VQVAE

LABELS = 3
NETWORK = NetworkConfig.model_validate(
    {
        "image": {"height": 8, "width": 8, "channels": 1},
        "model": {
            "encoder": {"downsampling": 4, "hidden_units": 4, "residual_blocks": 0},
            "quantizer": {"num_codes": 8, "embedding_dim": 2, "kmeans_iterations": 0},
        },
    }
)


@dataclasses.dataclass(frozen=True)
class RunOnDisk:
    """A run root: artifacts that stay, and a record that tests write as they need it."""

    root: Path

    def artifact(self, component: str, output: str) -> Path:
        return self.root / "pipeline" / component / output / "1"

    def record(self, **changes: Any) -> None:
        """Writes last_run.json; `changes` replace its keys."""
        outputs = {
            "Baseline": "baseline_model",
            "ImageExampleGen": "examples",
            "StatisticsGen": "statistics",
            "SchemaGen": "schema",
            "ExampleValidator": "anomalies",
            "DataGate": "blessing",
            "Transform": "transformed_examples",
            "Trainer-vqvae": "model_run",
            "Tokenizer": "codes",
            "Trainer-prior": "model",
        }
        components = [
            {
                "name": name,
                "state": "ran",
                "seconds": 1.5 + index,
                "outputs": {output: str(self.artifact(name, output))},
            }
            for index, (name, output) in enumerate(outputs.items())
        ]
        components[-1]["outputs"]["model_run"] = str(self.artifact("Trainer-prior", "model_run"))
        record = {
            "config": {
                "name": "tiny",
                "data": {"image": NETWORK.image.model_dump()},
                "model": NETWORK.model.model_dump(),
                "training": {"vqvae": {"batch_size": 16}, "prior": {"batch_size": 16}},
            },
            "run": {"data": str(self.root / "data"), "run_key": "key", "baseline_version": 0},
            "components": components,
        }
        (self.root / "last_run.json").write_text(json.dumps(record | changes))


def write_run(root: Path) -> RunOnDisk:
    """Everything up to the prior's Trainer, in a new root."""
    run = RunOnDisk(root)
    for name in ("Trainer-vqvae", "Trainer-prior"):
        _write_curves(run.artifact(name, "model_run"), name)
    pixels = np.random.default_rng(0).integers(0, 256, (30, *NETWORK.image.hwc), np.uint8)
    for split in ("train", "eval"):
        _write_images(run.artifact("Transform", "transformed_examples"), split, pixels)
        _write_codes(run.artifact("Tokenizer", "codes"), split, len(pixels))
    _write_rejected(run.artifact("ImageExampleGen", "examples"))
    split = run.artifact("ExampleValidator", "anomalies") / "Split-train"
    split.mkdir(parents=True)
    (split / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies().SerializeToString())
    _write_models(run.artifact("Trainer-prior", "model"))
    run.record()
    return run


def _write_curves(folder: Path, component: str) -> None:
    tags = {
        "Trainer-vqvae": ("train/nmse", "train/loss", "held_out/nmse", "held_out/code_usage"),
        "Trainer-prior": (
            "train/bits_per_code",
            "held_out/bits_per_code",
            "held_out/bits_per_code_given_label",
        ),
    }[component]
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in range(10, 110, 10):
            for tag in (*tags, "train/learning_rate", "train/images_per_second"):
                tf.summary.scalar(tag, 1.0 / step, step=step)


def _write_images(folder: Path, split: str, pixels: np.ndarray) -> None:
    constants = {
        features.PIXEL_MEAN: tf.train.Feature(float_list={"value": [0.25]}),
        features.PIXEL_VARIANCE: tf.train.Feature(float_list={"value": [0.125]}),
    }
    _write(
        folder,
        split,
        [
            {features.IMAGE: _bytes(image.tobytes()), features.LABEL: _label(index), **constants}
            for index, image in enumerate(pixels)
        ],
    )


def _write_codes(folder: Path, split: str, count: int) -> None:
    """Codes 0 to 3 of 8 in every image."""
    codes = np.arange(4, dtype=np.uint8).tobytes()
    _write(
        folder,
        split,
        [{features.CODES: _bytes(codes), features.LABEL: _label(index)} for index in range(count)],
    )


def _write(folder: Path, split: str, records: list[dict[str, tf.train.Feature]]) -> None:
    path = folder / f"Split-{split}"
    path.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path / "part-00000-of-00001.gz"), "GZIP") as writer:
        for record in records:
            example = tf.train.Example(features=tf.train.Features(feature=record))
            writer.write(example.SerializeToString())


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list={"value": [value]})


def _label(index: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list={"value": [index % LABELS]})


def _write_rejected(examples: Path) -> None:
    folder = examples / "rejected"
    folder.mkdir(parents=True)
    summary = {
        "records": 62,
        "rejected": 2,
        "reasons": {"empty record": 2},
        "splits": {"train": 30, "eval": 30},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [
        {"file": "/data/train/a.tfrecord", "record": record, "reason": "empty record"}
        for record in (3, 5)
    ]
    (folder / "records-00000.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))


def _write_models(folder: Path) -> None:
    vqvae = VQVAE(NETWORK, data_variance=0.1)
    settings = PriorConfig(layers=1, hidden_units=4, head_units=4)
    export_release(
        vqvae,
        GatedPixelCNN(settings, NETWORK.model.quantizer.num_codes, LABELS, NETWORK.code_shape, 0),
        preprocess=lambda images: preprocess_images(images, NETWORK.image.hwc),
        preprocess_resources=tf.Module(),
        parse=parse_images(NETWORK.image),
        combined=str(folder / "Format-Serving"),
        release=str(folder / "release"),
    )
