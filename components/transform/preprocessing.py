"""What Transform does: encoded images to pixels, and the constants that describe them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components import features
from models import images


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Args:
        inputs: `image`, one encoded PNG or JPEG per record, and perhaps `label`, at most one
            per record; dense [N] or [N, 1], sparse or ragged.
        custom_config: {"image": {"height", "width", "channels"}}.

    Returns:
        Per record: `image` string [N], H·W·C raw uint8 bytes; `label` int64 [N], -1 where none;
        and, over the analyzed split, `num_classes` int64 [N], `pixel_mean` and `pixel_variance`
        float32 [N, C] of pixel / 255. They are exact: sums of integers, whatever the batches.
    """
    shape = custom_config["image"]
    height, width, channels = (int(shape[key]) for key in ("height", "width", "channels"))
    encoded = _column(inputs[features.IMAGE], b"")
    pixels = images.preprocess_images(encoded, (height, width, channels))
    count = tf.shape(encoded)[0]
    if features.LABEL in inputs:
        no_label = tf.constant(features.NO_LABEL, tf.int64)
        label = _column(inputs[features.LABEL], no_label)
        num_classes = tft.max(label) + 1
    else:
        label = tf.fill([count], tf.constant(features.NO_LABEL, tf.int64))
        num_classes = tf.constant(0, tf.int64)
    mean, variance = _moments(pixels, height * width)
    return {
        features.IMAGE: images.pack_pixels(pixels),
        features.LABEL: label,
        features.NUM_CLASSES: tf.fill([count], num_classes),
        features.PIXEL_MEAN: tf.tile(mean[tf.newaxis], [count, 1]),
        features.PIXEL_VARIANCE: tf.tile(variance[tf.newaxis], [count, 1]),
    }


def _column(values: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, default: Any) -> tf.Tensor:
    """At most one value per record, in whatever form, as [N]; `default` where there is none."""
    if isinstance(values, tf.RaggedTensor):
        values = values.to_sparse()
    if isinstance(values, tf.SparseTensor):
        count = values.dense_shape[0]
        one_wide = tf.SparseTensor(values.indices, values.values, tf.stack([count, 1]))
        values = tf.sparse.to_dense(one_wide, default_value=default)
    return tf.reshape(values, [-1])


def _moments(pixels: tf.Tensor, area: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance per channel, float32 [C], of pixel / 255 over the analyzed split."""

    def sums(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wide = tf.cast(image, tf.int64)  # eight times the bytes, so one image at a time
        return tf.reduce_sum(wide, axis=[0, 1]), tf.reduce_sum(wide * wide, axis=[0, 1])

    channels = pixels.shape[-1]
    spec = tf.TensorSpec([channels], tf.int64)
    image_sums, image_squares = tf.map_fn(sums, pixels, fn_output_signature=(spec, spec))
    # One analyzer for all, since each adds a dozen steps to the Beam pipeline.
    ones = tf.ones_like(image_sums[:, :1])
    everything = tft.sum(
        tf.concat([image_sums, image_squares, ones], axis=1), reduce_instance_dims=False
    )
    total, squares, images_seen = tf.split(tf.cast(everything, tf.float64), [channels, channels, 1])
    count = images_seen * area
    mean = total / count
    variance = tf.maximum(squares / count - mean * mean, 0.0)
    mean, variance = tf.cast(mean / 255.0, tf.float32), tf.cast(variance / 255.0**2, tf.float32)
    return tf.ensure_shape(mean, [channels]), tf.ensure_shape(variance, [channels])
