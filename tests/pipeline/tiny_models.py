"""A release store of real SavedModels that are built in seconds: codes are gray levels."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from components import release_store
from components.release import Release
from models import images

SHAPE = (4, 6, 1)  # H, W, C
CODE_SHAPE = (2, 3)
NUM_CODES = 16


def png(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    """The file of an image uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def some_images(count: int, seed: int = 0) -> np.ndarray:
    """Images uint8 [count, H, W] of which every 2×2 block is one level that has a code."""
    codes = np.random.default_rng(seed).integers(0, NUM_CODES, (count, *CODE_SHAPE))
    return (codes * 16 + 8).astype(np.uint8).repeat(2, 1).repeat(2, 2)


def expected_codes(pixels: np.ndarray, codebook: str = "a") -> np.ndarray:
    """Codes int32 [N, 2, 3] of images uint8 [N, 4, 6]."""
    codes = pixels[:, ::2, ::2].astype(np.int32) // 16
    return codes if codebook == "a" else NUM_CODES - 1 - codes


def codebook_sha256(codebook: str) -> str:
    return hashlib.sha256(codebook.encode()).hexdigest()


class TinyModels(tf.Module):
    """Signatures of a release; with codebook `b` the codes count backwards."""

    def __init__(self, codebook: str, asset: Path):
        super().__init__()
        self.weight = tf.Variable(0)
        self.codebook = codebook
        self.version = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(asset),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            ),
            "0",
        )

    def _swap(self, codes):
        return codes if self.codebook == "a" else NUM_CODES - 1 - codes

    def _release(self, rows):
        lines = self.version.lookup(tf.zeros([tf.shape(rows)[0]], tf.int64))
        return tf.strings.to_number(lines, tf.int64)

    def _images(self, codes):
        levels = tf.cast(self._swap(codes) * 16 + 8, tf.uint8)
        return tf.repeat(tf.repeat(levels, 2, 1), 2, 2)[..., None]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "rows")])
    def identity(self, rows):
        digest = tf.fill([tf.shape(rows)[0]], codebook_sha256(self.codebook))
        return {"release": self._release(rows), "codebook_sha256": digest}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "images")])
    def encode(self, encoded):
        return self.pixels(images.preprocess_images(encoded, SHAPE))

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8, "images")])
    def pixels(self, pixels):
        codes = self._swap(tf.cast(pixels[:, ::2, ::2, 0], tf.int32) // 16) + self.weight
        return {"codes": codes, "release": self._release(pixels)}

    @tf.function(input_signature=[tf.TensorSpec([None, *CODE_SHAPE], tf.int32, "codes")])
    def decode(self, codes):
        valid = tf.reduce_all((codes >= 0) & (codes < NUM_CODES))
        said = [f"codes must be 0 to {NUM_CODES - 1}. Received:", codes]
        with tf.control_dependencies([tf.debugging.Assert(valid, said)]):
            return {"images": self._images(tf.identity(codes) + self.weight)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "labels"),
            tf.TensorSpec([], tf.int64, "seed"),
            tf.TensorSpec([], tf.float32, "temperature"),
            tf.TensorSpec([], tf.int32, "top_k"),
            tf.TensorSpec([], tf.float32, "top_p"),
        ]
    )
    def controlled(self, labels, seed, temperature, top_k, top_p):
        """Uniform codes, or with `top_k` = 1 the label."""
        known = tf.debugging.Assert(
            tf.reduce_all((labels >= -1) & (labels <= 9)), ["labels must be -1 to 9:", labels]
        )
        with tf.control_dependencies([known]):
            shape = tf.concat([tf.shape(labels), CODE_SHAPE], 0)
        words = tf.bitcast(seed, tf.int32)
        codes = tf.random.stateless_uniform(shape, words, 0, NUM_CODES, tf.int32, alg="philox")
        greedy = tf.broadcast_to(tf.maximum(labels, 0)[:, None, None], shape)
        codes = tf.where(top_k == 1, greedy, codes) + self.weight
        return {"codes": codes, "images": self._images(codes)}


def write(folder: Path, codebook: str = "a") -> dict[str, Path]:
    """The SavedModels of a release that is still without a version."""
    folder.mkdir(parents=True)
    asset = folder / "release_version"
    asset.write_text("0")
    tiny = TinyModels(codebook, asset)
    signatures = {
        "encode": {"serving_default": tiny.encode, "pixels": tiny.pixels},
        "decode": {"serving_default": tiny.decode},
        "sample": {"controlled": tiny.controlled, "serving_default": tiny.controlled},
        "evaluate": {"serving_default": tiny.decode},
    }
    for name, each in signatures.items():
        tf.saved_model.save(tiny, str(folder / name), {**each, "identity": tiny.identity})
    return {name: folder / name for name in signatures}


def publish(store: Path, candidates: dict[str, Path], codebook: str = "a") -> Release:
    """Makes the models the next release of a store."""
    facts = {"codebook_sha256": codebook_sha256(codebook), "config": {}, "metrics": {}}
    return release_store.publish(store, candidates, facts)
