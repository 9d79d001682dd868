"""Sampling from the prior inside one graph, at the cost of a few forward passes.

Each position is computed once, from activations that are kept, where the network as a whole
would compute every position anew for each code. Nothing here is an approximation: there are no
masks, the inputs of `models.prior.GatedLayer` are shifted once and its convolutions reach up
and to the left only, so that

- the vertical stack of a row depends on the rows above. It is computed for a row at once, from
  the last k // 2 rows that entered each layer;
- the horizontal stack of a position depends on the row so far. It is computed from the last
  k // 2 positions that entered each layer, and what the vertical stack contributes to it;
- several codes of a position share both stacks. Each is drawn from the head's output and the
  codes before it there, through `models.prior.GroupHead`.

The vertical stacks of all rows together are most of the arithmetic of a forward pass. What is
left is a chain of about ten small operations per layer and position, and of about twenty per
code where there are several, which cost more to start than to compute unless the batch is large,
hence as few of them as possible (`benchmarks/sampling.py` measures both). XLA is not used: it is
1.0 to 1.6 times as fast on a CPU, compiles for seconds for each batch size anew, and a TensorFlow
Serving binary need not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from models.draws import draw, noise

if TYPE_CHECKING:
    from models.prior import GatedPixelCNN

# (index, logits [N, K]) -> codes, int32 [N]. The index counts the codes of an image, row by row,
# and group by group in a position; they are drawn in this order.
Select = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


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

    def select(index, logits):
        return draw(logits, tf.gather(uniform, index), temperature, top_k, top_p)

    return generate(prior, labels, select, codes, rows_given)


def generate(prior: GatedPixelCNN, labels, select: Select, codes=None, rows_given=0) -> tf.Tensor:
    """Codes position by position, row by row. Always in float32.

    Args:
        prior: the network, used without dropout.
        labels: int32 `[N]`, -1 for unconditional.
        select: chooses a code of each image given its logits.
        codes: int32 `[N, *code_shape]`, of which the first `rows_given` rows are taken as they
            are.
        rows_given: int32 scalar.

    Returns:
        int32 `[N, *code_shape]`.
    """
    rows, columns, *several = prior.code_shape  # several: [g], or [] with one code per position
    count = tf.shape(labels)[0]
    inputs = _Inputs(prior)
    vertical = _VerticalStack(prior, labels)
    horizontal = _HorizontalStack(prior)
    choose = _Head(prior, select)
    outside = tf.broadcast_to(inputs.outside, [count, columns, *several])
    if codes is None:
        codes = tf.zeros([count, rows, columns, *several], tf.int32)

    def row_step(row, codes_above, above, drawn):
        place = inputs.place(row)  # (w, units)
        contributions, above = vertical(inputs.embed(codes_above) + place, above)

        def column_step(column, codes_before, before, row_codes):
            x = inputs.embed(codes_before) + tf.gather(place, column)  # (N, units)
            x, before = horizontal(x, before, tf.gather(contributions, column, axis=2))
            here = choose(row * columns + column, x)
            return column + 1, here, before, row_codes.write(column, here)

        _, _, _, row_codes = tf.while_loop(
            lambda column, *_: column < columns,
            column_step,
            (
                tf.where(row < rows_given, columns, 0),  # column; a given row is done
                outside[:, 0],  # codes of the column before
                horizontal.empty(count),  # what entered the layers in the columns before
                tf.TensorArray(tf.int32, columns, element_shape=[None, *several]).unstack(
                    _swapped(codes[:, row])
                ),
            ),
        )
        row_codes = _swapped(row_codes.stack())  # (N, w) or (N, w, g)
        return row + 1, row_codes, above, drawn.write(row, row_codes)

    _, _, _, drawn = tf.while_loop(
        lambda row, *_: row < rows,
        row_step,
        (
            0,  # row
            outside,  # codes of the row above
            vertical.empty(count),  # what entered the layers in the rows above
            tf.TensorArray(tf.int32, rows, element_shape=[None, columns, *several]),
        ),
    )
    return _swapped(drawn.stack())


# The classes below read the weights when they are made, outside of the loops.


class _Inputs:
    """What enters the first layer: the codes before or above, and the place."""

    def __init__(self, prior: GatedPixelCNN):
        # The zeros outside of the grid are the embedding of one more code.
        self._codes = tf.pad(_tensor(prior.embedding.embeddings), [[0, 1], [0, 0]])
        self._rows = _tensor(prior.row.embeddings)
        self._columns = _tensor(prior.column.embeddings)
        self._first = None  # of several codes, the row where the table of each begins, [g]
        self.outside = tf.constant(prior.num_codes)  # what all codes outside are: [], or [g]
        if prior.groups > 1:
            self._first = prior.num_codes * tf.range(prior.groups)
            self.outside = prior.num_codes * prior.groups - self._first

    def embed(self, codes):
        """int32 `[...]`, or `[..., g]` with several codes per position -> `[..., units]`."""
        if self._first is None:
            return tf.gather(self._codes, codes)
        return tf.reduce_sum(tf.gather(self._codes, codes + self._first), axis=-2)

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
    """The horizontal stack of all layers, one position at a time.

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

    def empty(self, count) -> tf.Tensor:
        """Nothing to the left: `[layers, N, reach·units]`."""
        return tf.zeros([self._kernels.shape[0], count, self._reach * self._units])

    def __call__(self, x, before, contributions):
        """One position, `[N, units]`, to the right of those `before`.

        `contributions` is what the vertical stack adds, `[layers, N, 2·units]`.

        Returns:
            `[N, units]` and the new `before`.
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
        return x, tf.stack(windows)[:, :, self._units :]


class _Dense(NamedTuple):
    """A dense layer of `[N, ...]`."""

    kernel: tf.Tensor
    bias: tf.Tensor

    @classmethod
    def of(cls, layer) -> _Dense:
        return cls(_tensor(layer.kernel), _tensor(layer.bias))

    def __call__(self, x):
        return tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)


class _Head:
    """The codes of one position, drawn one after the other."""

    def __init__(self, prior: GatedPixelCNN, select: Select):
        self._select = select
        self._groups, self._num_codes = prior.groups, prior.num_codes
        self._head, self._logits = _Dense.of(prior.head), _Dense.of(prior.logits)
        if prior.groups > 1:
            head = prior.group_head
            self._which = _tensor(head.which.embeddings)
            self._earlier = _tensor(head.earlier.embeddings)
            self._dense1, self._dense2 = _Dense.of(head.dense1), _Dense.of(head.dense2)

    def __call__(self, position, x):
        """Draws them from what the horizontal stack says, `[N, units]` -> int32 `[N]` or `[N, g]`.

        `position` counts the positions of the grid, row by row.
        """
        # Not relu: Grappler fuses it with what precedes it into an invalid node and then
        # leaves the whole graph as it is.
        u = tf.nn.relu(self._head(tf.maximum(x, 0.0)))  # (N, head units)
        if self._groups == 1:
            return self._select(position, self._logits(u))

        # Not a loop of the graph, which would hand on all these weights at every step.
        codes = []
        for group in range(self._groups):
            a = u + self._which[group]
            refined = a + self._dense2(tf.nn.relu(self._dense1(tf.maximum(a, 0.0))))
            index = position * self._groups + group
            codes.append(self._select(index, self._logits(refined)))
            if group + 1 < self._groups:  # the last code reaches nobody here
                u += tf.gather(self._earlier, group * self._num_codes + codes[-1])
        return tf.stack(codes, axis=-1)


def _gate(x):
    """`models.prior.gate`, which imports this file."""
    a, b = tf.split(x, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


def _tensor(variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable)


def _swapped(x) -> tf.Tensor:
    """The first two dimensions of `[a, b, ...]` swapped."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
