"""Sampling from a prior inside one graph, a position at a time.

The prior computes each position once, from activations that it keeps (`models.priors.prior.Steps`);
the network as a whole would compute every position anew for each code. What it keeps, and how it
computes, is its own affair.

A position is a chain of many small operations, which cost more to start than to compute unless
the batch is large, hence as few of them as possible (`benchmarks/sampling.py` measures it). XLA
is not used: with a Gated PixelCNN it is 1.0 to 1.6 times as fast on a CPU, compiles for seconds
for each batch size anew, and a TensorFlow Serving binary need not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from models.draws import draw, noise
from models.guidance import guided
from models.priors.prior import Place, Prior, Steps

# (index, logits [N, K]) -> codes, int64 [N]. The index counts the codes of an image, row by row,
# and group by group in a position; they are drawn in this order.
Select = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def sample(
    prior: Prior,
    labels,
    seed,
    temperature,
    top_k=0,
    top_p=1.0,
    codes=None,
    rows_given=0,
    guidance=None,
    context=None,
) -> tf.Tensor:
    """Codes drawn from a prior, or given rows of codes continued.

    An image depends on the seed, its place in the batch, its label and its context only: not on
    how many others there are.

    Args:
        prior: the network.
        labels: int32 `[N]`, -1 for unconditional.
        seed: int64 scalar; the same seed gives the same codes.
        temperature: float scalar above 0; below 1 sharpens the distribution.
        top_k: int scalar; draws from the k most likely codes, 0 for all.
        top_p: float scalar in (0, 1]; draws from the most likely codes that together have this
            probability, 1 for all.
        codes: int32 `[N, *code_shape]`, of which the first `rows_given` rows are kept.
        rows_given: int scalar, 0 to h.
        guidance: float scalar, see `models.guidance`; 1 or None for none.
        context: float32 `[N, h, w, context_channels]`, if the prior has one.

    Returns:
        int32 `[N, *code_shape]`.
    """
    count = tf.shape(labels)[0]
    if codes is None:
        codes = tf.zeros([count, *prior.code_shape], tf.int32)
    if guidance is None:
        steps = prior.start(labels, context)
    else:
        steps = guided(prior, labels, guidance, context)
    uniform = tf.transpose(noise(seed, count, math.prod(prior.code_shape)))

    def select(index, logits):
        return draw(logits, tf.gather(uniform, index), temperature, top_k, top_p)

    return generate(steps, select, codes, rows_given)


def generate(steps: Steps, select: Select, codes, rows_given=0) -> tf.Tensor:
    """Codes position by position, row by row.

    Args:
        steps: of the prior.
        select: chooses a code of each image given its logits.
        codes: int32 `[N, *code_shape]`, of which the first `rows_given` rows are taken as they
            are.
        rows_given: int32 scalar.

    Returns:
        int32 `[N, *code_shape]`.
    """
    rows, columns, *several = steps.code_shape  # several: [g], or [] with one code per position
    groups, element = math.prod(several), [None, *several]
    # TensorFlow computes with int32 on the CPU: a GPU would wait for it at each position.
    codes = tf.cast(codes, tf.int64)
    rows_given = tf.minimum(rows_given, rows) if tf.is_tensor(rows_given) else min(rows_given, rows)
    state = steps.start(codes, rows_given)
    above = codes[:, tf.maximum(rows_given - 1, 0)]
    above = tf.where(rows_given > 0, above, tf.zeros_like(above))

    def row_step(row, above, state, drawn):
        shared, known = steps.row(state, above, row)

        def position_step(column, previous, known, row_codes):
            # Not a loop of the graph, which would hand on all weights at every step.
            chosen: list[tf.Tensor] = []
            for group in range(groups):
                place = Place(row, column, group)
                logits, known = steps.step(known, previous, place, shared)
                index = (row * columns + column) * groups + group
                previous = select(index, logits)
                chosen.append(previous)
            here = tf.stack(chosen, axis=-1) if several else previous  # (N), or (N, g)
            return column + 1, here, known, row_codes.write(column, here)

        _, _, known, row_codes = tf.while_loop(
            lambda column, *_: column < columns,
            position_step,
            (0, above[:, -1], known, tf.TensorArray(tf.int64, columns, element_shape=element)),
        )
        row_codes = _swapped(row_codes.stack())  # (N, w) or (N, w, g)
        return row + 1, row_codes, steps.finish(shared, known), drawn.write(row, row_codes)

    drawn = tf.TensorArray(tf.int64, rows, element_shape=[None, columns, *several])
    _, _, _, drawn = tf.while_loop(
        lambda row, *_: row < rows,
        row_step,
        (rows_given, above, state, drawn.unstack(_swapped(codes))),
    )
    return tf.cast(_swapped(drawn.stack()), tf.int32)


def _swapped(x) -> tf.Tensor:
    """The first two dimensions of `[a, b, ...]` swapped."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
