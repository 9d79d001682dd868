"""Activations that are computed again for the gradient instead of being kept."""

from __future__ import annotations

import keras
import tensorflow as tf


def recomputed(layer: keras.Layer, *activations, **others):
    """`layer(*activations, **others)`, of which the gradient keeps `activations` alone.

    The forward pass of the layer is computed twice, and what it makes inside need not be kept in
    between (Chen et al. 2016, arXiv 1604.06174).

    Args:
        layer: without state but its weights; one that is not built yet is only called.
        activations: tensors that have a gradient.
        others: arguments that have none.
    """
    if not layer.built:
        return layer(*activations, **others)
    weights = [tf.convert_to_tensor(each) for each in layer.trainable_variables]

    # A pure function of tensors: variables that are read inside would not be known to the tape of
    # a replica, nor to XLA.
    @tf.recompute_grad
    def pure(*tensors):
        given, inputs = tensors[: len(weights)], tensors[len(weights) :]
        return layer.stateless_call(given, (), *inputs, **others)[0]

    return pure(*weights, *activations)
