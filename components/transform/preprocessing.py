"""What Transform does: what is encoded to pixels, whatever form the schema gives the features."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from components import features
from components.kinds import read_kind
from models import images


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Args:
        inputs: what is encoded, one value per record, and perhaps `label`, at most one per record;
            dense [N] or [N, 1], sparse or ragged.
        custom_config: {"kind": the JSON of `components.kinds`}.

    Returns:
        Per record: `image` string [N], H·W·C raw uint8 bytes; `label` int64 [N], -1 where none.
        It needs no pass over the data: what the pixels are on average is summed up while they
        are written (`components.contents`).
    """
    kind = read_kind(custom_config["kind"])
    payload = column(inputs[kind.feature], b"")
    pixels = kind.pixels(payload)
    return {features.IMAGE: images.pack_pixels(pixels), features.LABEL: labels(inputs, payload)}


def labels(inputs: dict[str, Any], payload: tf.Tensor) -> tf.Tensor:
    """The labels, int64 [N], NO_LABEL where there is none; `payload` has as many rows."""
    no_label = tf.constant(features.NO_LABEL, tf.int64)
    if features.LABEL not in inputs:
        return tf.fill([tf.shape(payload)[0]], no_label)
    return column(inputs[features.LABEL], no_label)


def column(values: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, default: Any) -> tf.Tensor:
    """At most one value per record, in whatever form, as [N]; `default` where there is none."""
    if isinstance(values, tf.RaggedTensor):
        values = values.to_sparse()
    if isinstance(values, tf.SparseTensor):
        count = values.dense_shape[0]
        one_wide = tf.SparseTensor(values.indices, values.values, tf.stack([count, 1]))
        values = tf.sparse.to_dense(one_wide, default_value=default)
    return tf.reshape(values, [-1])
