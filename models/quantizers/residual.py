"""Residual quantization: several codes per position, each for what those before it left."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from models.config import QuantizerConfig
from models.part import WHOLE, Part
from models.precision import state_dtype
from models.quantizers.estimators import ESTIMATORS
from models.quantizers.interface import Quantized, Quantizer, check_lookup
from models.updates import Updates


class ResidualQuantizer(keras.layers.Layer):
    """Quantizers one after the other, whose vectors add up (Lee et al. 2022, arXiv 2203.01941).

        r_0 = z,   k_d = Q_d(r_{d-1}),   r_d = r_{d-1} - e_d(k_d),   ẑ = Σ_d e_d(k_d)

    (Eq. 3 and 4.) Every depth has a codebook of its own: what is left of an encoding is smaller
    with each depth, and shaped differently. (The paper shares one among all depths.) The gradient
    passes the sum as a whole, once.

    The losses are those of each depth on what it was given, |r_{d-1} - sg[e_d]|², which is the
    paper's |z - sg[ẑ_d]|² of the partial sum ẑ_d (eq. 7); their mean over the depths, so that
    `commitment` means the same whatever the depth.

    Args:
        config: of each depth; `depth`, how many there are.
        build: makes the quantizer of a depth from its configuration and a seed.
        seed: of the first one; each has another.

    Call arguments:
        z: float `[..., D]`, encodings.
        training: gathers the statistics that the codebooks learn from.
        part: of the whole batch, for what is drawn from it at random.

    Returns:
        `Quantized`, codes `[..., depth]`. Of the statistics, `counts` is `[depth, K]`; the others
        are those of the quantizers, named `depth_1/sums` and so on.
    """

    def __init__(
        self,
        config: QuantizerConfig,
        build: Callable[[QuantizerConfig, int], Quantizer],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(dtype=state_dtype(), **kwargs)
        self.config = config
        self.num_codes = config.num_codes
        self.groups = config.codes_per_position
        self.codebooks = config.depth
        self._estimate = ESTIMATORS[config.estimator]
        single = config.model_copy(update={"depth": 1})
        self.stages = [build(single, seed + place) for place in range(config.depth)]

    def call(self, z, training: bool = False, part: Part = WHOLE) -> Quantized:
        z = tf.convert_to_tensor(z)
        left = tf.cast(z, self.dtype)
        codes, losses, counts = [], [], []
        statistics: dict[str, tf.Tensor] = {}
        for place, stage in enumerate(self.stages):
            found = stage(left, training=training, part=part)
            codes.append(found.codes)
            losses.append(found.losses)
            gathered = dict(found.statistics)
            if training:
                counts.append(gathered.pop("counts"))
            statistics |= {_name(place, name): value for name, value in gathered.items()}
            # The exact vectors: what a quantizer returns in training is rounded on its way.
            left -= tf.stop_gradient(stage.lookup(found.codes))
        if training:
            statistics["counts"] = tf.stack(counts)
        means = {
            name: tf.add_n([each[name] for each in losses]) / len(losses) for name in losses[0]
        }
        joined = tf.stack(codes, axis=-1)
        total = tf.stop_gradient(self.lookup(joined))
        return Quantized(self._passed(z, total), joined, means, statistics)

    def updates(self, statistics: dict[str, tf.Tensor]) -> Updates:
        """Of the codebooks after a step, given the statistics of the whole batch."""
        updates = []
        for place, stage in enumerate(self.stages):
            prefix = _name(place, "")
            own = {
                name.removeprefix(prefix): value
                for name, value in statistics.items()
                if name.startswith(prefix)
            }
            updates += stage.updates({"counts": statistics["counts"][place], **own})
        return updates

    def initialize(self, z) -> None:
        """Places each codebook on what those before it, placed so, leave of encodings.

        Called once, outside the replicas, before the first step.

        Args:
            z: float `[..., D]`, encodings of real images.
        """
        left = tf.cast(tf.convert_to_tensor(z), self.dtype)
        for stage in self.stages:
            stage.initialize(left)
            left -= stage.lookup(stage(left).codes)

    def lookup(self, codes):
        """Sums of the vectors of codes. int `[..., depth]` -> float32 `[..., D]`."""
        codes = tf.convert_to_tensor(codes)
        check_lookup(codes, self.codebooks, "depth")
        return tf.add_n([stage.lookup(codes[..., d]) for d, stage in enumerate(self.stages)])

    def codebook(self):
        """The vector of each code of each depth, float32 `[depth, K, D]`."""
        return tf.stack([stage.codebook() for stage in self.stages])

    def _passed(self, z, total):
        """The sums `[..., D]`, with a gradient for the encodings."""
        rows = tf.reshape(tf.cast(z, self.dtype), [-1, self.config.embedding_dim])
        passed = self._estimate(rows, tf.reshape(total, tf.shape(rows)))
        return tf.ensure_shape(tf.reshape(passed, tf.shape(z)), z.shape)


def _name(place: int, statistic: str) -> str:
    return f"depth_{place + 1}/{statistic}"
