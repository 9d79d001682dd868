"""What a decoder is told of an image's label."""

from __future__ import annotations

import keras
import tensorflow as tf


class LabelEmbedding(keras.layers.Layer):
    """A vector for each label, and their mean where the label is not known.

    All begin at 0, so that a decoder begins as one without labels, whatever the labels are.

    Args:
        num_classes: labels are 0 … num_classes - 1.
        units: channels.

    Input shape:
        int32 `[N]`; any other label, such as -1, is none that is known.

    Output shape:
        `[N, 1, 1, units]`.
    """

    def __init__(self, num_classes: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self._num_classes = num_classes
        # By this name the optimizer knows that it is not to decay.
        self.table = self.add_weight(
            name="embedding", shape=(num_classes, units), initializer="zeros"
        )

    def call(self, labels):
        table = tf.convert_to_tensor(self.table)
        known = (labels >= 0) & (labels < self._num_classes)
        own = tf.one_hot(labels, self._num_classes, dtype=table.dtype)
        share = tf.where(known[:, None], own, 1.0 / self._num_classes)  # (N, classes)
        return tf.matmul(share, table)[:, None, None]
