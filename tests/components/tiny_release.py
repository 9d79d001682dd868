"""Real SavedModels and Examples, small enough to build in a second, for tests of releases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

SHAPE = (4, 4, 1)  # H, W, C
NUM_CODES = 16


class TinyModel(tf.Module):
    """Codes are pixels in `NUM_CODES` even steps; `error` is added to each reconstruction."""

    def __init__(self, error: float, version_asset: Path):
        super().__init__()
        self.error = tf.Variable(error)
        # A table, as an asset is read once, when the model is loaded.
        self.version = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(version_asset),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            ),
            "0",
        )

    def quantize(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(pixels, tf.int32) * NUM_CODES // 256

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "images")])
    def encode(self, images):
        decode = lambda png: tf.ensure_shape(tf.image.decode_png(png, 1), SHAPE)  # noqa: E731
        pixels = tf.map_fn(decode, images, fn_output_signature=tf.uint8)
        lines = self.version.lookup(tf.zeros([tf.shape(images)[0]], tf.int64))
        release = tf.strings.to_number(lines, tf.int64)
        return {"codes": self.quantize(pixels)[..., 0], "release": release}

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE[:2]], tf.int32, "codes")])
    def decode(self, codes):
        step = 256 // NUM_CODES
        levels = tf.cast(codes * step + step // 2, tf.float32) + self.error
        return {"images": tf.cast(tf.clip_by_value(levels, 0, 255), tf.uint8)[..., None]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "labels"),
            tf.TensorSpec([], tf.int64, "seed"),
        ]
    )
    def sample(self, labels, seed):
        shape = tf.concat([tf.shape(labels), SHAPE[:2]], 0)
        codes = tf.random.stateless_uniform(shape, [seed, 0], 0, NUM_CODES, tf.int32)
        return {"codes": codes, **self.decode(codes)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(self, examples):
        parsed = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        raw = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, *SHAPE])
        codes = self.quantize(raw)
        pixels = tf.cast(raw, tf.float32) / 255.0
        decoded = tf.cast(self.decode(codes[..., 0])["images"], tf.float32) / 255.0
        bits = tf.fill([tf.shape(raw)[0]], 40.0)
        return {
            "squared_error": tf.reduce_sum((pixels - decoded) ** 2, [1, 2, 3]),
            "pixel_sum": tf.reduce_sum(pixels, [1, 2]),
            "pixel_square_sum": tf.reduce_sum(pixels**2, [1, 2, 3]),
            "codes": tf.reshape(codes, [-1, SHAPE[0] * SHAPE[1]]),
            "prior_bits": bits,
            "decoder_bits": bits,
            "num_codes": tf.fill([tf.shape(raw)[0]], NUM_CODES),
        }


def write_model(folder: Path, error: float = 0.0) -> Path:
    """A Model artifact's folder as the prior's Trainer leaves it."""
    folder.mkdir(parents=True)
    asset = folder / "release_version"
    asset.write_text("0")
    model = TinyModel(error, asset)
    signatures = {"encode": model.encode, "decode": model.decode, "sample": model.sample}
    for name, signature in signatures.items():
        kept = model if name == "encode" else tf.Module()
        kept.error = model.error
        tf.saved_model.save(kept, str(folder / "release" / name), {"serving_default": signature})
    signatures["evaluate"] = model.evaluate
    tf.saved_model.save(model, str(folder / "Format-Serving"), signatures)
    asset.unlink()
    facts = {"codebook_sha256": f"{error}", "image": list(SHAPE), "num_codes": NUM_CODES}
    (folder / "release/model.json").write_text(json.dumps(facts))
    return folder


def write_examples(folder: Path, images: int = 64) -> Path:
    """An Examples artifact's folder with the split `eval`, as Transform leaves it."""
    split = folder / "Split-eval"
    split.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *SHAPE), np.uint8)
    with tf.io.TFRecordWriter(str(split / "examples-00000-of-00001.gz"), "GZIP") as writer:
        for image in pixels:
            feature = {
                "image": tf.train.Feature(bytes_list={"value": [image.tobytes()]}),
                "label": tf.train.Feature(int64_list={"value": [-1]}),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return folder
