"""A Gated PixelCNN (van den Oord et al. 2016) as a prior over codes."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.config import PriorConfig
from models.precision import state_dtype
from models.priors.gated import GatedLayer, decide
from models.priors.group_head import GroupHead, Layer
from models.priors.pixelcnn_steps import PixelCNNSteps
from models.priors.prior import embed_codes, log_prob
from models.recompute import recomputed
from models.seeded import seeded


class GatedPixelCNN(keras.Model):
    """p(codes | label), one code after the other: a `models.priors.prior.Prior`.

    Args:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional model.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        seed: seed of the weights.
        recompute: spend time for memory in training (`models.recompute`).
        context_channels: of the context; 0 for none.
    """

    def __init__(
        self,
        config: PriorConfig,
        num_codes: int,
        num_classes: int,
        code_shape: tuple[int, ...],
        seed: int = 0,
        recompute: bool = False,
        context_channels: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._recompute = recompute
        self.config = config
        self.num_codes = num_codes
        self.num_classes = num_classes
        self.code_shape = code_shape
        self.context_channels = context_channels
        self.groups = code_shape[2] if len(code_shape) == 3 else 1
        with seeded(seed):
            self.embedding = keras.layers.Embedding(self.groups * num_codes, config.hidden_units)
            # Where a code is matters for images that are centred; the two axes add up.
            self.row = keras.layers.Embedding(code_shape[0], config.hidden_units)
            self.column = keras.layers.Embedding(code_shape[1], config.hidden_units)
            self.gated = [
                GatedLayer(
                    *(config.hidden_units, config.kernel_size, num_classes + 1, config.dropout),
                    last=index == config.layers - 1,
                )
                for index in range(config.layers)
            ]
            self.head = keras.layers.Dense(config.head_units)
            if self.groups > 1:
                self.group_head = GroupHead(config.head_units, num_codes, self.groups)
            self.logits = keras.layers.Dense(num_codes, dtype=state_dtype())
            context = None
            if context_channels:
                # Without a bias, as each place has one.
                self.context = keras.layers.Dense(config.hidden_units, use_bias=False)
                context = tf.zeros([1, *code_shape[:2], context_channels])
            self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]), context=context)

    def call(self, codes, labels, dropout_key=None, context=None):
        x = embed_codes(codes, self.embedding, self.num_codes, self.groups)  # (N, h, w, units)
        places = self.places(self.row, self.column)
        if context is not None:
            places += self.context(context)  # (N, h, w, units)
        # Shifted by one row for the vertical stack, by one column for the horizontal one:
        # from here on each position may use all that is left of it in its stack.
        vertical = tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1] + places
        horizontal = tf.pad(x, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1] + places
        label_rows = labels + 1  # row 0 of the label embeddings is "no label"
        for index, layer in enumerate(self.gated):
            # Places in the sequence of one seed that no other layer and no other step has.
            key = (
                None
                if dropout_key is None
                else dropout_key + tf.constant([index << 32, 0], tf.int64)
            )
            given = {"labels": label_rows, "dropout_key": key}
            if self._recompute:
                vertical, horizontal = recomputed(layer, vertical, horizontal, **given)
            else:
                vertical, horizontal = layer(vertical, horizontal, **given)
        u = decide(horizontal, self.head)  # (N, h, w, head units)
        return self.logits(self.group_head(u, codes) if self.groups > 1 else u)

    def places(self, row: Layer, column: Layer):
        """What the stacks see of where positions are, `[h, w, units]`."""
        rows, columns = self.code_shape[:2]
        return row(tf.range(rows))[:, None] + column(tf.range(columns))

    def log_prob(self, codes, labels, dropout_key=None, context=None):
        logits = self(codes, labels, dropout_key=dropout_key, context=context)
        return log_prob(logits, codes, self.code_shape)

    def start(self, labels, context=None) -> PixelCNNSteps:
        return PixelCNNSteps(self, labels, context)
