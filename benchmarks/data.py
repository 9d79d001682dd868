"""CPU time of the stages before and after training, against a bare decode of every image.

    python -m benchmarks.data

Photographs of three kinds go through ImageExampleGen, StatisticsGen, Transform, Tokenizer and
Evaluator, with networks that are as small as they can be, each stage with the executor that a run
uses. Beside them, in the same process: every image decoded and, where its size is not the target's,
resized, once, by TensorFlow's operations in one graph; TFX's own Transform; and the bare `evaluate`
signature over the held-out records. A stage is run on few and on many images, and the difference
taken: what starting it costs does not count. To that end one image in four is held out, so that the
Evaluator has enough of them; what the stages take together is told for one in sixteen. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tfx import types

from benchmarks import stages, tfx_transform
from benchmarks.photos import Kind, write
from components import contents, features
from components.record_files import encode_examples, read_records
from components.stored_images import parser
from models.memory import images_at_once
from pipeline import component_ids as ids
from pipeline.config.config import Config

# With the images of a small run and of a large one.
KINDS = {
    "JPEG 300×256 → 256×256": (Kind(300, 256, "JPEG", 256), (200, 1800)),
    "JPEG 500×375 → 128×128": (Kind(500, 375, "JPEG", 128), (200, 3400)),
    "PNG 32×32 → 32×32": (Kind(32, 32, "PNG", 32), (1000, 41_000)),
}
RUNS = [*((name, "stored") for name in KINDS), (next(iter(KINDS)), "encoded")]
# Images that the operations alone are given.
_BARE = 256
# One in so many is held out here, and where stages are added up.
_HELD_OUT = 4
_USUALLY_HELD_OUT = 16
# Fewer files vary less in what starting costs.
_FILES = 1


class Measured(NamedTuple):
    """What the operations alone take, and what the stages leave, for one image."""

    decode: float  # CPU seconds, and resize
    encode: float  # by the network
    evaluate: float  # by both networks
    encoded: float  # bytes of the files that were read
    artifacts: float  # bytes that Transform wrote


def _alone(ran: stages.Ran, kind: Kind, data: Path, config: Config, count: int) -> Measured:
    (transformed,) = ran.made[ids.TRANSFORM, "transformed_examples"]
    (vqvae,) = ran.made[ids.TRAINERS["vqvae"], "model"]
    (both,) = ran.made[ids.TRAINERS["prior"], "model"]
    return Measured(
        _decode(kind, data, config.data.transform_batch_size),
        *_networks(vqvae, both, transformed, config),
        sum(path.stat().st_size for path in data.rglob("*.tfrecord")) / count,
        sum(path.stat().st_size for path in Path(transformed.uri).rglob("*") if path.is_file())
        / count,
    )


def _theirs(ran: stages.Ran, config: Config, folder: Path) -> float:
    """CPU seconds of TFX's Transform over the same images."""
    given = {
        "examples": ran.made[ids.EXAMPLE_GEN, "examples"],
        "schema": ran.made[ids.SCHEMA_GEN, "schema"],
    }
    started = time.process_time()
    tfx_transform.run(given, config.data.image.hwc, folder)
    return time.process_time() - started


def _decode(kind: Kind, data: Path, at_once: int) -> float:
    """Of decoding, and of resizing where a crop has not the target's size."""
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

    spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
    files = sorted(str(path) for path in data.rglob("*.tfrecord"))
    batches = read_records(files).take(_BARE).batch(at_once)
    return _cpu(decode, [tf.io.parse_example(each, spec)[features.IMAGE] for each in batches])


def _networks(
    vqvae: types.Artifact, both: types.Artifact, transformed: types.Artifact, config: Config
) -> tuple[float, float]:
    """Of the bare signatures, encode's and evaluate's, over held-out images.

    In batches of the size that Tokenizer and Evaluator give them.
    """
    files = list(contents.files([f"{transformed.uri}/Split-eval/*"]))
    records = read_records(files).take(_BARE)
    parse = parser(config.data.image.hwc, config.data.pixels)
    images = [
        batch[features.IMAGE] for batch in records.batch(images_at_once(config.network)).map(parse)
    ]
    examples = [
        tf.constant(list(encode_examples({name: each.numpy() for name, each in batch.items()})))
        for batch in records.batch(images_at_once(config.network, config.prior)).map(parse)
    ]
    encode, evaluate = (
        tf.saved_model.load(f"{model.uri}/Format-Serving") for model in (vqvae, both)
    )
    return (
        _cpu(lambda batch: encode.signatures["pixels"](images=batch), images),
        _cpu(lambda batch: evaluate.signatures["evaluate"](examples=batch), examples),
    )


def _cpu(work: Callable[[tf.Tensor], object], batches: list[tf.Tensor]) -> float:
    """CPU seconds for one image of the batches."""
    for batch in batches:  # traced, and warm
        work(batch)
    started = time.process_time()
    for batch in batches:
        work(batch)
    return (time.process_time() - started) / sum(int(tf.shape(batch)[0]) for batch in batches)


def measure(name: str, pixels: str) -> dict[str, float]:
    """For one image, by the difference of two runs where these are whole: seconds and bytes."""
    kind, counts = KINDS[name]
    config = stages.configuration(kind.target, pixels=pixels)
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int, called: str, trained: stages.Ran | None = None) -> stages.Ran:
            data = Path(folder, called, "data")
            write(kind, count, data, _HELD_OUT, _FILES)
            return stages.run(data, Path(folder, called), config, trained)

        # What a process does once it has done before the runs that are compared.
        first = run(counts[0], "first")
        few, many = (run(count, f"run-{count}", first) for count in counts)
        alone = _alone(many, kind, Path(folder, f"run-{counts[1]}", "data"), config, counts[1])
        _theirs(first, config, Path(folder, "tfx-first"))
        theirs = [
            _theirs(ran, config, Path(folder, f"tfx-{count}"))
            for ran, count in zip((few, many), counts, strict=True)
        ]
    images = counts[1] - counts[0]
    given = dict.fromkeys(stages.DATA, images) | {ids.EVALUATOR: images / _HELD_OUT}
    return {
        **{each: (many.seconds[each] - few.seconds[each]) / given[each] for each in given},
        "passed": sum(
            (many.passed[each] - few.passed[each]) / given[each] * _share(each) for each in given
        ),
        "theirs": (theirs[1] - theirs[0]) / images,
        **alone._asdict(),
    }


def _share(stage: str) -> float:
    """Of the images, of those that a stage is usually given."""
    return 1 / _USUALLY_HELD_OUT if stage == ids.EVALUATOR else 1.0


def _row(name: str, found: dict[str, float]) -> list[str]:
    """Of the table of times."""
    times = [*(found[stage] for stage in stages.DATA)]
    times += [found[each] for each in ("encode", "evaluate", "decode")]
    return [name, *(f"{1e3 * each:.2f}" for each in times), f"{1 / found['passed']:,.0f}"]


def _ratios(name: str, pixels: str, raw: int, found: dict[str, float]) -> list[str]:
    """Of the table of ratios."""
    own = {ids.TOKENIZER: found["encode"], ids.EVALUATOR: found["evaluate"]}
    # What differs by less than it varies counts as nothing, and not against the others.
    beside = {stage: max(found[stage] - own.get(stage, 0.0), 0.0) for stage in stages.DATA}
    together = sum(seconds * _share(stage) for stage, seconds in beside.items())
    size = found["artifacts"] / (raw if pixels == "stored" else found["encoded"])
    return [
        name,
        f"{together / found['decode']:.1f}",
        f"{found['theirs'] / found[ids.TRANSFORM]:.1f}",
        f"{found[ids.EVALUATOR] / found['evaluate']:.2f}",
        f"{size:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--pixels", default="stored", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.pixels)))
        return
    times, ratios = [], []
    for name, pixels in RUNS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.data", "--kind", name, "--pixels", pixels],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        title = f"{name}, {pixels}"
        print(f"{title}: {found}", file=sys.stderr, flush=True)
        times.append(_row(title, found))
        ratios.append(_ratios(title, pixels, KINDS[name][0].target ** 2 * 3, found))
    bare = ["bare encode", "bare evaluate", "bare decode"]
    print(
        "CPU milliseconds an image that a stage is given, and what the operations alone take: the "
        "networks' two signatures, and decoding and resizing. Images/s: by the clock, through all "
        "stages, where one image in sixteen is held out, as only those reach the Evaluator.\n"
    )
    _table(["images, `data.pixels`", *stages.DATA, *bare, "images/s"], times)
    print(
        "\nAs ratios, with their goals. Together: the stages without what the networks take. Bytes "
        "of what Transform wrote: to raw pixels where these are stored, else to the files read.\n"
    )
    _table(
        [
            "images, `data.pixels`",
            "together ÷ bare decode (≤ 4)",
            "TFX's Transform ÷ ours (≥ 6)",
            "Evaluator ÷ bare evaluate (≤ 1.3)",
            "bytes (≤ 1.1)",
        ],
        ratios,
    )


def _table(head: list[str], rows: list[list[str]]) -> None:
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
