"""CPU time of the stages before and after training, against a bare decode of every image.

    python -m benchmarks.data

Photographs of three kinds go through ImageExampleGen, StatisticsGen, Transform, Tokenizer and
Evaluator, with networks that are as small as they can be, each stage with the executor that a run
uses. Beside them, in the same process: every image decoded and, where its size is not the target's,
resized, once, by TensorFlow's operations in one graph; and the bare `evaluate` signature over the
held-out records. A stage is run on few and on many images, and the difference taken: what starting
it costs does not count. Prints Markdown.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images
from tfx import types
from tfx.dsl.components.base import base_beam_executor, base_executor

from components import features
from pipeline import component_ids as ids
from pipeline.config.config import Config
from pipeline.dag import Run, create_pipeline


class Kind(NamedTuple):
    """A data set of photographs, and what becomes of them."""

    wide: int
    high: int
    format: str
    target: int  # height and width
    few: int  # images of the small run
    many: int  # of the large one


KINDS = {
    "JPEG 300×256 → 256×256": Kind(300, 256, "JPEG", 256, 300, 1500),
    "JPEG 500×375 → 128×128": Kind(500, 375, "JPEG", 128, 300, 1500),
    "PNG 32×32 → 32×32": Kind(32, 32, "PNG", 32, 2000, 12000),
}
STAGES = (ids.EXAMPLE_GEN, "StatisticsGen", ids.TRANSFORM, ids.TOKENIZER, ids.EVALUATOR)
_FILES = 4
_QUALITY = {"JPEG": {"quality": 85}, "PNG": {}}


def write(kind: Kind, count: int, folder: Path) -> None:
    """Crops of two photographs, one in ten held out, as TFRecords."""
    photos = [Image.fromarray(each) for each in load_sample_images().images]
    random = np.random.default_rng(0)
    writers: dict[str, tf.io.TFRecordWriter] = {}
    for number in range(count):
        split = "eval" if number % 10 == 9 else "train"
        name = f"{split}/{number % _FILES}.tfrecord"
        if name not in writers:
            (folder / split).mkdir(parents=True, exist_ok=True)
            writers[name] = tf.io.TFRecordWriter(str(folder / name))
        encoded = io.BytesIO()
        _crop(photos[number % 2], kind, random).save(encoded, kind.format, **_QUALITY[kind.format])
        example = tf.train.Example()
        example.features.feature[features.IMAGE].bytes_list.value.append(encoded.getvalue())
        example.features.feature[features.LABEL].int64_list.value.append(number // 10 % 10)
        writers[name].write(example.SerializeToString())
    for writer in writers.values():
        writer.close()


def _crop(photo: Image.Image, kind: Kind, random: np.random.Generator) -> Image.Image:
    scale = random.uniform(0.5, 1.0) * min(photo.width / kind.wide, photo.height / kind.high)
    wide, high = int(kind.wide * scale), int(kind.high * scale)
    left = int(random.integers(photo.width - wide + 1))
    top = int(random.integers(photo.height - high + 1))
    box = (left, top, left + wide, top + high)
    return photo.resize((kind.wide, kind.high), Image.Resampling.BICUBIC, box)


def configuration(kind: Kind, **data: Any) -> Config:
    """Networks as small as they can be, trained for a step."""
    brief = {"steps": 1, "batch_size": 8, "evaluate_every": 1, "checkpoint_every": 1}
    encoder = {"downsampling": 8, "hidden_units": 8, "residual_blocks": 1, "residual_units": 8}
    return Config.model_validate(
        {
            "name": "data",
            "data": {
                "image": {"height": kind.target, "width": kind.target, "channels": 3},
                **data,
            },
            "model": {
                "encoder": encoder,
                "quantizer": {"num_codes": 16, "embedding_dim": 8},
                "decoder": {"likelihood": "gaussian"},
            },
            "prior": {"layers": 1, "hidden_units": 8, "head_units": 8},
            "training": {"vqvae": brief, "prior": brief, "cache_mib": 0},
            "gate": {"thresholds": {"nmse": {"max": 1000.0}}},
        }
    )


class Measured(NamedTuple):
    """CPU seconds of the stages of one run, and what they left."""

    seconds: dict[str, float]
    bare: float  # decoding and resizing
    evaluate: float  # the bare signature
    artifacts: int  # bytes that Transform wrote


def run(kind: Kind, count: int, folder: Path, config: Config) -> Measured:
    """Every stage once, one after the other."""
    write(kind, count, folder / "data")
    places = {name: str(folder / name) for name in ("artifacts", "checkpoints", "serving")}
    pipeline = create_pipeline(
        config,
        Run(
            str(folder / "data"),
            places["artifacts"],
            places["checkpoints"],
            places["serving"],
            run_key="",
            baseline_version=0,
            push_id="",
        ),
    )
    made: dict[tuple[str, str], list[types.Artifact]] = {}
    seconds = {}
    for component in pipeline.components:
        if component.id == ids.PUSHER:
            continue
        inputs = {
            name: made[channel.producer_component_id, channel.output_key]
            for name, channel in component.inputs.items()
        }
        outputs = {}
        for name, channel in component.outputs.items():
            artifact = channel.type()
            artifact.uri = str(folder / "artifacts" / component.id / name)
            Path(artifact.uri).mkdir(parents=True)
            outputs[name] = made[component.id, name] = [artifact]
        started = time.process_time()
        _executor(component, folder).Do(inputs, outputs, dict(component.exec_properties))
        seconds[component.id] = time.process_time() - started
    records = _records(kind, folder)
    (held_out,) = made[ids.TRANSFORM, "transformed_examples"]
    (model,) = made[ids.TRAINERS["prior"], "model"]
    wrote = sum(path.stat().st_size for path in Path(held_out.uri).rglob("*") if path.is_file())
    return Measured(
        {stage: seconds[stage] for stage in STAGES},
        _bare(kind, records),
        _evaluate(Path(model.uri), Path(held_out.uri)),
        wrote,
    )


def _executor(component, folder: Path) -> base_executor.BaseExecutor:
    made = component.executor_spec.executor_class
    context = {"tmp_dir": str(folder / "tmp"), "unique_id": component.id}
    if issubclass(made, base_beam_executor.BaseBeamExecutor):
        return made(made.Context(beam_pipeline_args=[], **context))
    return made(made.Context(**context))


def _records(kind: Kind, folder: Path) -> list[tf.Tensor]:
    """The encoded images, read before anything is timed."""
    spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
    files = sorted(str(path) for path in (folder / "data").rglob("*.tfrecord"))
    batches = tf.data.TFRecordDataset(files).batch(64)
    return [tf.io.parse_example(batch, spec)[features.IMAGE] for batch in batches]


def _bare(kind: Kind, batches: list[tf.Tensor]) -> float:
    """CPU seconds of decoding, and of resizing where a crop has not the target's size."""
    side = min(kind.wide, kind.high)
    left, top = (kind.wide - side) // 2, (kind.high - side) // 2

    def one(encoded):
        if kind.format == "JPEG":
            pixels = tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE")
        else:
            pixels = tf.io.decode_png(encoded, 3)
        pixels = pixels[top : top + side, left : left + side]
        if side != kind.target:
            pixels = tf.image.resize(pixels, [kind.target] * 2, antialias=True)
            pixels = tf.cast(tf.round(pixels), tf.uint8)
        return tf.ensure_shape(pixels, [kind.target, kind.target, 3])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(encoded):
        return tf.map_fn(one, encoded, fn_output_signature=tf.uint8, parallel_iterations=10)

    return _cpu(lambda: [decode(batch) for batch in batches])


def _evaluate(model: Path, transformed: Path) -> float:
    """CPU seconds of the signature alone, over the held-out split."""
    loaded = tf.saved_model.load(str(model / "Format-Serving"))
    evaluate = loaded.signatures["evaluate"]
    files = sorted(str(path) for path in (transformed / "Split-eval").iterdir())
    gzip = "GZIP" if files[0].endswith(".gz") else ""
    batches = list(tf.data.TFRecordDataset(files, gzip).batch(32))
    return _cpu(lambda: [evaluate(examples=batch) for batch in batches])


def _cpu(work: Callable[[], object]) -> float:
    work()  # traced, and warm
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(name: str, **data: Any) -> dict[str, float]:
    """CPU seconds of each stage for one image, by the difference of two runs."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        # The first run also imports, traces and compiles whatever is kept for the second.
        few, many = (
            run(kind, count, Path(folder, str(count)), configuration(kind, **data))
            for count in (kind.few, kind.many)
        )
    images = kind.many - kind.few
    each = {stage: (many.seconds[stage] - few.seconds[stage]) / images for stage in STAGES}
    held_out = images // 10
    return {
        **each,
        "bare": (many.bare - few.bare) / images,
        "evaluate": (many.evaluate - few.evaluate) / images,
        "started": sum(few.seconds.values()) - sum(each.values()) * kind.few,
        "bytes": (many.artifacts - few.artifacts) / images,
        "held_out": held_out,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    kind = parser.parse_args().kind
    if kind:
        print(json.dumps(measure(kind)))
        return
    found = {}
    for name in KINDS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.data", "--kind", name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
