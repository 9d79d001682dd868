"""A Gated PixelCNN (van den Oord et al. 2016) as a prior over codes."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.precision import state_dtype
from models.priors.gated import GatedLayer, decide
from models.priors.group_head import GroupHead
from models.priors.network import PriorNetwork, key_of_layer
from models.priors.pixelcnn_steps import PixelCNNSteps
from models.recompute import recomputed


class GatedPixelCNN(PriorNetwork):
    """A prior of two stacks of gated convolutions: of the rows above, and of what is to the left.

    Arguments are those of `PriorNetwork`.
    """

    def _make_layers(self) -> None:
        config = self.config
        self.embedding = keras.layers.Embedding(self.groups * self.num_codes, config.hidden_units)
        # Where a code is matters for images that are centred; the two axes add up.
        self.row = keras.layers.Embedding(self.code_shape[0], config.hidden_units)
        self.column = keras.layers.Embedding(self.code_shape[1], config.hidden_units)
        self.gated = [
            GatedLayer(
                *(config.hidden_units, config.kernel_size, self.num_classes + 1, config.dropout),
                last=index == config.layers - 1,
            )
            for index in range(config.layers)
        ]
        self.head = keras.layers.Dense(config.head_units)
        if self.groups > 1:
            self.group_head = GroupHead(config.head_units, self.num_codes, self.groups)
        self.logits = keras.layers.Dense(self.num_codes, dtype=state_dtype())

    def call(self, codes, labels, dropout_key=None, context=None):
        x = self.embed(codes, self.embedding)  # (N, h, w, units)
        places = self.given(context)
        # Shifted by one row for the vertical stack, by one column for the horizontal one:
        # from here on each position may use all that is left of it in its stack.
        vertical = tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1] + places
        horizontal = tf.pad(x, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1] + places
        label_rows = labels + 1  # row 0 of the label embeddings is "no label"
        for index, layer in enumerate(self.gated):
            key = key_of_layer(dropout_key, index)
            given = {"labels": label_rows, "dropout_key": key}
            if self._recompute:
                vertical, horizontal = recomputed(layer, vertical, horizontal, **given)
            else:
                vertical, horizontal = layer(vertical, horizontal, **given)
        u = decide(horizontal, self.head)  # (N, h, w, head units)
        return self.logits(self.group_head(u, codes) if self.groups > 1 else u)

    def start(self, labels, context=None) -> PixelCNNSteps:
        return PixelCNNSteps(self, labels, context)
