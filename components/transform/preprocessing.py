"""What Transform does: encoded images to pixels, whatever form the schema gives the features."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from components import features
from models import images


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Args:
        inputs: `image`, one encoded PNG or JPEG per record, and perhaps `label`, at most one
            per record; dense [N] or [N, 1], sparse or ragged.
        custom_config: {"image": {"height", "width", "channels"}}.

    Returns:
        Per record: `image` string [N], H·W·C raw uint8 bytes; `label` int64 [N], -1 where none.
        It needs no pass over the data: what the pixels are on average is summed up while they
        are written (`components.contents`).
    """
    shape = custom_config["image"]
    height, width, channels = (int(shape[key]) for key in ("height", "width", "channels"))
    pixels = images.preprocess_images(encoded(inputs), (height, width, channels))
    return {features.IMAGE: images.pack_pixels(pixels), features.LABEL: labels(inputs)}


def encoded(inputs: dict[str, Any]) -> tf.Tensor:
    """The encoded images, string [N]."""
    return _column(inputs[features.IMAGE], b"")


def labels(inputs: dict[str, Any]) -> tf.Tensor:
    """The labels, int64 [N], NO_LABEL where there is none."""
    no_label = tf.constant(features.NO_LABEL, tf.int64)
    if features.LABEL not in inputs:
        return tf.fill([tf.shape(encoded(inputs))[0]], no_label)
    return _column(inputs[features.LABEL], no_label)


def _column(values: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, default: Any) -> tf.Tensor:
    """At most one value per record, in whatever form, as [N]; `default` where there is none."""
    if isinstance(values, tf.RaggedTensor):
        values = values.to_sparse()
    if isinstance(values, tf.SparseTensor):
        count = values.dense_shape[0]
        one_wide = tf.SparseTensor(values.indices, values.values, tf.stack([count, 1]))
        values = tf.sparse.to_dense(one_wide, default_value=default)
    return tf.reshape(values, [-1])
