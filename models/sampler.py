"""Sampling from the prior inside one graph, at the cost of a few forward passes.

Each position is computed once, from activations that are kept, where the network as a whole
would compute every position anew for each code. Nothing here is an approximation: there are no
masks, the inputs of `models.prior.GatedLayer` are shifted once and its convolutions reach up
and to the left only, so that

- the vertical stack of a row depends on the rows above. It is computed for a row at once, from
  the last k // 2 rows that entered each layer;
- the horizontal stack of a position depends on the row so far. It is computed from the last
  k // 2 positions that entered each layer, and what the vertical stack contributes to it.

The vertical stacks of all rows together are most of the arithmetic of a forward pass. What is
left is a chain of about ten small operations per layer and position, which cost more to start
than to compute unless the batch is large, hence as few of them as possible
(`benchmarks/sampling.py` measures both). XLA is not used: it is 1.0 to 1.6 times as fast on a
CPU, compiles for seconds for each batch size anew, and a TensorFlow Serving binary need not
have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from models.prior import GatedPixelCNN

# (row, column, logits [N, K]) -> codes, int32 [N].
Select = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def sample(
    prior: GatedPixelCNN,
    labels,
    seed,
    temperature,
    top_k=0,
    top_p=1.0,
    codes=None,
    rows_given=0,
) -> tf.Tensor:
    """Codes drawn from the prior. See `GatedPixelCNN.sample`."""
    uniform = tf.transpose(noise(seed, tf.shape(labels)[0], math.prod(prior.code_shape)))
    if prior.groups > 1:
        return _sample_groups(prior, labels, uniform, temperature, top_k, top_p, codes, rows_given)
    columns = prior.code_shape[1]

    def select(row, column, logits):
        here = tf.gather(uniform, row * columns + column)
        return draw(logits, here, temperature, top_k, top_p)

    return generate(prior, labels, select, codes, rows_given)


def _sample_groups(prior, labels, uniform, temperature, top_k, top_p, codes, rows_given):
    """Several codes per position: the whole network once per code."""
    count, length = tf.shape(labels)[0], math.prod(prior.code_shape)
    start = rows_given * (length // prior.code_shape[0])
    flat = tf.zeros([count, length], tf.int32)
    if codes is not None:
        flat = tf.where(tf.range(length) < start, tf.reshape(codes, [count, length]), flat)

    def step(position, flat):
        logits = prior(tf.reshape(flat, [count, *prior.code_shape]), labels)
        here = tf.reshape(logits, [count, length, prior.num_codes])[:, position]  # (N, K)
        drawn = draw(here, uniform[position], temperature, top_k, top_p)
        return position + 1, tf.where(tf.range(length) == position, drawn[:, None], flat)

    _, flat = tf.while_loop(lambda position, _: position < length, step, (start, flat))
    return tf.reshape(flat, [count, *prior.code_shape])


def noise(seed, count, positions: int) -> tf.Tensor:
    """What the draws of each image are made from: float32 `[N, positions]`, uniform in [0, 1).

    Image i gets the same numbers whatever the number of images.
    """
    words = tf.bitcast(tf.cast(seed, tf.int64), tf.int32)  # (2,)
    return tf.random.stateless_uniform([count, positions], words, alg="philox")


def draw(logits, uniform, temperature, top_k=0, top_p=1.0) -> tf.Tensor:
    """Codes drawn from logits, by inverting the cumulative distribution.

    One number per draw, where the Gumbel trick takes K and two logarithms of each.

    Args:
        logits: float32 `[N, K]`.
        uniform: float32 `[N]` in [0, 1).
        temperature: float scalar above 0.
        top_k: int scalar; only the k most likely codes, 0 for all.
        top_p: float scalar in (0, 1]; of those only the most likely ones that together reach
            this probability, 1 for all.

    Returns:
        int32 `[N]`. Never a code of probability 0.
    """
    last = logits.shape[-1] - 1
    # The difference first: logits / temperature may overflow.
    logits = (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / temperature
    # Sorting costs several times all the rest, so it is left out where nothing is asked for.
    restricted = (top_k > 0) | (top_p < 1.0)
    static = tf.get_static_value(restricted)
    if static is None:
        logits = tf.cond(restricted, lambda: _restrict(logits, top_k, top_p), lambda: logits)
    elif static:
        logits = _restrict(logits, top_k, top_p)
    cumulative = tf.cumsum(tf.exp(logits), axis=-1)
    thresholds = uniform[:, None] * cumulative[:, -1:]  # below the last, as uniform is below 1
    # The number of entries up to the threshold is the first code beyond it.
    codes = tf.raw_ops.UpperBound(sorted_inputs=cumulative, values=thresholds)[:, 0]
    return tf.minimum(codes, last)  # where a network has diverged to NaN


def _restrict(logits, top_k, top_p):
    """Logits with -inf for the less likely codes. Codes as likely as the last one kept stay."""
    ordered = tf.sort(logits, axis=-1, direction="DESCENDING")
    kept = (top_k == 0) | (tf.range(logits.shape[-1]) < top_k)  # (K,)
    probabilities = tf.nn.softmax(tf.where(kept, ordered, -float("inf")))
    before = tf.cumsum(probabilities, axis=-1, exclusive=True)
    # Rounded sums may reach 1 before the last code.
    kept &= (before < top_p) | (top_p >= 1.0)
    least = tf.reduce_min(tf.where(kept, ordered, float("inf")), axis=-1, keepdims=True)
    return tf.where(logits < least, -float("inf"), logits)


def generate(prior: GatedPixelCNN, labels, select: Select, codes=None, rows_given=0) -> tf.Tensor:
    """Codes position by position, row by row. Always in float32.

    Args:
        prior: the network, used without dropout.
        labels: int32 `[N]`, -1 for unconditional.
        select: chooses the codes of a position given their logits.
        codes: int32 `[N, h, w]`, of which the first `rows_given` rows are taken as they are.
        rows_given: int32 scalar.

    Returns:
        int32 `[N, h, w]`.
    """
    rows, columns = prior.code_shape
    count = tf.shape(labels)[0]
    inputs = _Inputs(prior)
    vertical = _VerticalStack(prior, labels)
    horizontal = _HorizontalStack(prior)
    outside = tf.fill([count, columns], inputs.outside)
    if codes is None:
        codes = tf.zeros([count, rows, columns], tf.int32)

    def row_step(row, codes_above, above, drawn):
        place = inputs.place(row)  # (w, units)
        contributions, above = vertical(inputs.embed(codes_above) + place, above)

        def column_step(column, code_before, before, row_codes):
            x = inputs.embed(code_before) + tf.gather(place, column)  # (N, units)
            logits, before = horizontal(x, before, tf.gather(contributions, column, axis=2))
            code = select(row, column, logits)
            return column + 1, code, before, row_codes.write(column, code)

        given = tf.transpose(codes[:, row])  # (w, N)
        _, _, _, row_codes = tf.while_loop(
            lambda column, *_: column < columns,
            column_step,
            (
                tf.where(row < rows_given, columns, 0),  # column; a given row is done
                outside[:, 0],  # code of the column before
                horizontal.empty(count),  # what entered the layers in the columns before
                tf.TensorArray(tf.int32, columns, element_shape=[None]).unstack(given),
            ),
        )
        row_codes = tf.transpose(row_codes.stack())  # (N, w)
        return row + 1, row_codes, above, drawn.write(row, row_codes)

    _, _, _, drawn = tf.while_loop(
        lambda row, *_: row < rows,
        row_step,
        (
            0,  # row
            outside,  # codes of the row above
            vertical.empty(count),  # what entered the layers in the rows above
            tf.TensorArray(tf.int32, rows, element_shape=[None, columns]),
        ),
    )
    return tf.transpose(drawn.stack(), [1, 0, 2])


# The classes below read the weights when they are made, outside of the loops.


class _Inputs:
    """What enters the first layer: the code before or above, and the place."""

    def __init__(self, prior: GatedPixelCNN):
        # The zeros outside of the grid are the embedding of one more code.
        self.outside = prior.num_codes
        self._codes = tf.pad(_tensor(prior.embedding.embeddings), [[0, 1], [0, 0]])
        self._rows = _tensor(prior.row.embeddings)
        self._columns = _tensor(prior.column.embeddings)

    def embed(self, codes):
        """int32 `[...]` -> `[..., units]`."""
        return tf.gather(self._codes, codes)

    def place(self, row):
        """Scalar -> `[w, units]`."""
        return tf.gather(self._rows, row) + self._columns


class _VerticalWeights(NamedTuple):
    """Of one layer."""

    kernel: tf.Tensor  # (reach + 1, k, units, 2·units)
    offset: tf.Tensor  # (N, 1, 1, 2·units): bias and label
    to_horizontal: tf.Tensor  # (2·units, 2·units)
    to_horizontal_bias: tf.Tensor  # (2·units): of the horizontal convolution, too


class _VerticalStack:
    """The vertical stack of all layers, one row at a time."""

    def __init__(self, prior: GatedPixelCNN, labels):
        self._columns = prior.code_shape[1]
        self._units = prior.config.hidden_units
        self._reach = prior.config.kernel_size // 2
        self._layers = []
        for layer in prior.gated:
            label = tf.gather(_tensor(layer.label.embeddings), labels + 1)
            self._layers.append(
                _VerticalWeights(
                    kernel=_tensor(layer.vertical_conv.kernel),
                    offset=(label + layer.vertical_conv.bias)[:, None, None],
                    to_horizontal=_tensor(layer.vertical_to_horizontal.kernel),
                    to_horizontal_bias=_tensor(layer.vertical_to_horizontal.bias)
                    + layer.horizontal_conv.bias,
                )
            )

    def empty(self, count) -> list[tf.Tensor]:
        """Nothing above: for each layer `[N, reach, w + 2·reach, units]`."""
        shape = [count, self._reach, self._columns + 2 * self._reach, self._units]
        return [tf.zeros(shape) for _ in self._layers]

    def __call__(self, x, above: list[tf.Tensor]):
        """One row, `[N, w, units]`, below those `above`.

        Returns:
            the contributions to the horizontal stack, `[layers, N, w, 2·units]`, and the new
            `above`.
        """
        reach, width = self._reach, 2 * self._units
        x = x[:, None]  # (N, 1, w, units)
        contributions, entered = [], []
        for layer, last in zip(self._layers, above, strict=True):
            padded = tf.pad(x, [[0, 0], [0, 0], [reach, reach], [0, 0]])
            window = tf.concat([last, padded], axis=1)  # (N, reach + 1, w + 2·reach, units)
            entered.append(window[:, 1:])
            v = tf.nn.conv2d(window, layer.kernel, 1, "VALID") + layer.offset
            # One product of all rows: [N, w, ...] would be N small ones.
            flat = tf.matmul(tf.reshape(v, [-1, width]), layer.to_horizontal)
            flat = tf.nn.bias_add(flat, layer.to_horizontal_bias)
            contributions.append(tf.reshape(flat, [-1, self._columns, width]))
            x = _gate(v)
        return tf.stack(contributions), entered


class _HorizontalStack:
    """The horizontal stack of all layers and the head, one position at a time.

    The weights of the layers are stacked: a loop hands on each tensor that it uses separately,
    at every step, while taking a stack apart copies nothing.
    """

    def __init__(self, prior: GatedPixelCNN):
        layers, units = prior.gated, prior.config.hidden_units
        self._units = units
        self._reach = prior.config.kernel_size // 2
        self._kernels = tf.stack(
            [tf.reshape(layer.horizontal_conv.kernel, [-1, 2 * units]) for layer in layers]
        )  # (layers, (reach + 1)·units, 2·units)
        self._outputs = tf.stack([_tensor(layer.output_dense.kernel) for layer in layers])
        self._output_biases = tf.stack([_tensor(layer.output_dense.bias) for layer in layers])
        self._head = _tensor(prior.head.kernel), _tensor(prior.head.bias)
        self._logits = _tensor(prior.logits.kernel), _tensor(prior.logits.bias)

    def empty(self, count) -> tf.Tensor:
        """Nothing to the left: `[layers, N, reach·units]`."""
        return tf.zeros([self._kernels.shape[0], count, self._reach * self._units])

    def __call__(self, x, before, contributions):
        """One position, `[N, units]`, to the right of those `before`.

        `contributions` is what the vertical stack adds, `[layers, N, 2·units]`.

        Returns:
            logits `[N, K]` and the new `before`.
        """
        stacked = before, contributions, self._kernels, self._outputs, self._output_biases
        windows = []
        for last, contribution, kernel, output, bias in zip(*map(tf.unstack, stacked), strict=True):
            window = tf.concat([last, x], axis=-1)  # (N, (reach + 1)·units)
            windows.append(window)
            h = _gate(tf.matmul(window, kernel) + contribution)
            # In this order, as a product with a bias would be fused with the addition into one
            # operation that is ten times slower on matrices this small (oneDNN, two threads).
            x = (x + bias) + tf.matmul(h, output)
        # Not relu: Grappler fuses it with what precedes it into an invalid node and then
        # leaves the whole graph as it is.
        x = tf.nn.bias_add(tf.matmul(tf.maximum(x, 0.0), self._head[0]), self._head[1])
        logits = tf.nn.bias_add(tf.matmul(tf.nn.relu(x), self._logits[0]), self._logits[1])
        return logits, tf.stack(windows)[:, :, self._units :]


def _gate(x):
    """`models.prior.gate`, which imports this file."""
    a, b = tf.split(x, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


def _tensor(variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable)
