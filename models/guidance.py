"""Classifier-free guidance (Ho & Salimans 2022): samples that show their label more clearly."""

from __future__ import annotations

import tensorflow as tf

from models.priors.prior import Place, Prior, State, Steps


def guided(prior: Prior, labels, guidance, context=None) -> Steps:
    """A prior whose logits are moved away from what it would draw without the label.

        logits = logits(no label) + guidance · (logits(label) - logits(no label))

    1 is no guidance, 0 hides the label, above 1 is more of what the label says. Both are computed
    in one batch of twice the size; at 1 nothing is computed twice.

    Args:
        prior: trained with some of its labels hidden.
        labels: int32 `[N]`; -1, unconditional, is guided by nothing.
        guidance: float32 scalar.
        context: float32 `[N, h, w, context_channels]`, if the prior has one. It is not hidden.
    """
    return _Guided(prior, labels, guidance, context)


class _Guided:
    """`models.priors.prior.Steps` for N images over those of N or 2·N."""

    def __init__(self, prior: Prior, labels, guidance, context):
        self.code_shape = prior.code_shape
        self._guidance = guidance
        self._count = tf.shape(labels)[0]
        # Without guidance both halves of the batch are the same images.
        self._hidden = tf.where(tf.equal(guidance, 1.0), 0, self._count)
        nothing = tf.fill([self._hidden], -1)
        both = tf.concat([labels, tf.cast(nothing, labels.dtype)], axis=0)
        self._steps = prior.start(both, None if context is None else self._twice(context))

    def start(self, codes, rows_given) -> State:
        return self._steps.start(self._twice(codes), rows_given)

    def row(self, state: State, above, row) -> tuple[State, State]:
        return self._steps.row(state, self._twice(above), row)

    def step(self, known: State, previous, place: Place, shared: State) -> tuple[tf.Tensor, State]:
        logits, known = self._steps.step(known, self._twice(previous), place, shared)
        with_label, without = logits[: self._count], logits[self._hidden :]
        return without + self._guidance * (with_label - without), known

    def finish(self, shared: State, known: State) -> State:
        return self._steps.finish(shared, known)

    def _twice(self, x):
        return tf.concat([x, x[: self._hidden]], axis=0)
