"""Which release a served model is of, and which codes it understands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.vqvae import VQVAE

# Text file among the assets of each: the release it belongs to, 0 until it is released.
RELEASE_ASSET = "release_version"


def codebook_sha256(vqvae: VQVAE) -> str:
    """Fingerprint of what gives codes their meaning: the codebook and the decoder's weights.

    The codebook alone does not say which models understand each other: that of FSQ is a lattice
    that no training moves, the same in every release, while a decoder has learnt what its own
    encoder puts at each point of it. Codes that are decoded by another decoder are no error
    that anybody would notice, only other images.

    Returns:
        hexadecimal SHA-256 over their bytes, little-endian, in the order of the layers.
    """
    digest = hashlib.sha256()
    for tensor in (vqvae.quantizer.codebook(), *vqvae.decoder.variables):
        values = np.asarray(tensor)
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def release_table(scratch: str) -> tf.lookup.StaticHashTable:
    """A table of one line read from an asset, so that a release can be given its number later."""
    path = Path(scratch) / RELEASE_ASSET
    path.write_text("0\n", encoding="utf-8")
    initializer = tf.lookup.TextFileInitializer(
        str(path),
        key_dtype=tf.int64,
        key_index=tf.lookup.TextFileIndex.LINE_NUMBER,
        value_dtype=tf.string,
        value_index=tf.lookup.TextFileIndex.WHOLE_LINE,
    )
    return tf.lookup.StaticHashTable(initializer, default_value="0")


def release_of(version: tf.lookup.StaticHashTable, rows):
    """The release, once for each row. Any `[N, ...]` -> int64 `[N]`."""
    number = tf.strings.to_number(version.lookup(tf.constant(0, tf.int64)), tf.int64)
    return tf.fill([tf.shape(rows)[0]], number)


def identity_signature(
    version: tf.lookup.StaticHashTable, sha256: str, told: Mapping[str, str] | None = None
):
    """Which codes a model makes or takes: what a client asks before it trusts them.

    Args:
        version: the release.
        sha256: of the codebook.
        told: further outputs, see `models.medium.Medium`.
    """

    # Rows, though their values do not matter, so that requests can be batched like all others.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "rows")])
    def identity(rows):
        rows = tf.ensure_shape(rows, [None])
        words = {"codebook_sha256": sha256, **(told or {})}
        return {
            "release": release_of(version, rows),
            **{name: tf.fill([tf.shape(rows)[0]], word) for name, word in words.items()},
        }

    return identity
