"""What decides the codes of a position, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

# A Keras layer, or what it computes with weights that were read before.
Layer = Callable[[tf.Tensor], tf.Tensor]


class GroupHead(keras.layers.Layer):
    """Tells the codes of one position apart, each given the codes before it at that position.

        a_k = u + b_k + Σ_{m<k} E_m[c_m],   u_k = a_k + W_2 relu(W_1 relu(a_k))

    Args:
        units: channels of the input and the output.
        num_codes: K.
        groups: g, codes per position; at least 2.

    Call arguments:
        u: `[N, h, w, units]`, the head's output, what is known from the positions before.
        codes: int32 `[N, h, w, g]`.

    Output shape:
        `[N, h, w, g, units]`; at k it depends on the codes below k.
    """

    def __init__(self, units: int, num_codes: int, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.groups = groups
        self.which = keras.layers.Embedding(groups, units)
        self.earlier = keras.layers.Embedding((groups - 1) * num_codes, units)
        self.dense1 = keras.layers.Dense(units)
        self.dense2 = keras.layers.Dense(units)

    def call(self, u, codes):
        rows = codes[..., :-1] + self.num_codes * tf.range(self.groups - 1)
        # At k the sum of all below it: the first has nothing, the last code reaches nobody.
        earlier = tf.cumsum(self.earlier(rows), axis=-2)  # (N, h, w, g - 1, units)
        earlier = tf.pad(earlier, [[0, 0], [0, 0], [0, 0], [1, 0], [0, 0]])
        a = u[..., None, :] + self.which(tf.range(self.groups)) + earlier
        return _refine(a, self.dense1, self.dense2)


class HeadSteps:
    """The logits of one code after the other at a position, in float32.

    Args:
        logits: the layer that gives them.
        head: of several codes per position; None where there is one.
    """

    def __init__(self, logits: keras.layers.Dense, head: GroupHead | None):
        self._logits = read_dense(logits)
        self._head = head
        if head is not None:
            self._which, self._earlier = read_table(head.which), read_table(head.earlier)
            self._dense1, self._dense2 = read_dense(head.dense1), read_dense(head.dense2)

    def logits(self, u, group: int) -> tf.Tensor:
        """`[N, units]`, of the position or from `extend` -> float32 `[N, K]`."""
        if self._head is not None:
            u = _refine(u + self._which(group), self._dense1, self._dense2)
        return self._logits(u)

    def extend(self, u, group: int, codes) -> tf.Tensor:
        """What decides the codes after those of `group`, int64 `[N]`, at the same position."""
        assert self._head is not None
        return u + self._earlier(group * self._head.num_codes + codes)


def relu(x):
    """max(x, 0)."""
    # Not tf.nn.relu: in the sampler Grappler fuses it with what precedes it into an invalid node
    # and then leaves the whole graph as it is.
    return tf.maximum(x, tf.zeros([], x.dtype))


def read_table(layer: keras.layers.Embedding) -> Layer:
    """An embedding whose weights are read now."""
    table = tf.convert_to_tensor(layer.embeddings)
    return lambda indices: tf.gather(table, indices)


def read_dense(layer: keras.layers.Dense) -> Layer:
    """A dense layer, with a bias, whose weights are read now."""
    kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
    return lambda x: tf.nn.bias_add(tf.matmul(x, kernel), bias)


def _refine(a, dense1: Layer, dense2: Layer):
    """u_k of `GroupHead` from a_k, `[..., units]`."""
    return a + dense2(tf.nn.relu(dense1(relu(a))))
