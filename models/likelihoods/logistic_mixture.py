"""Discretised mixture of logistics as the distribution of the pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from models.likelihoods.likelihood import LEVELS, Likelihood, to_image


class LogisticMixtureLikelihood(Likelihood):
    """Discretised mixture of logistic distributions (Salimans et al. 2017, eq. 1-3).

    The mass of a grey level is the mixture's integral over its width, the outermost levels
    taking the tails (eq. 2):

        p(x) = Σ_k π_k Π_c [σ((x_c + ½ - μ_kc) / s_kc) - σ((x_c - ½ - μ_kc) / s_kc)]

    The channels of a pixel share the component k. In colour, green's mean moves with the red
    that was observed, and blue's with both (eq. 3), x̃ being the pixel scaled to [-1, 1]:

        μ_g = m_g + α·x̃_r        μ_b = m_b + β·x̃_r + γ·x̃_g

    Three coefficients per component let the likelihood know that channels go together, which
    the codes then need not tell it. Pixels stay independent of each other.

    Args:
        channels: C of the images, 1 or 3.
        components: K of the mixture; the decoder puts out 3·K values for a gray pixel and
            10·K for one in colour.

    Raises:
        ValueError: if `channels` is neither 1 nor 3.
    """

    # Bounds of ln s, s in half-ranges of a pixel: a ninth of a grey level, and so wide that all
    # levels are alike.
    MIN_LOG_SCALE = -7.0
    MAX_LOG_SCALE = 7.0
    HALF_RANGE = 127.5

    def __init__(self, channels: int, components: int, **kwargs):
        super().__init__(**kwargs)
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (gray) or 3 (RGB). Received: {channels}")
        self.channels = channels
        self.components = components
        # Pairs of an observed channel and the one whose mean moves with it.
        self._links = [(0, 1), (0, 2), (1, 2)] if channels == 3 else []
        self.outputs_per_pixel = components * (1 + 2 * channels + len(self._links))

    def nats(self, pixels, parameters):
        """-ln p of each pixel, all its channels together. float32 `[N, H, W]`."""
        mixture = self._mixture(parameters)
        x = tf.cast(pixels, self.dtype)[..., None]  # (N, H, W, C, 1)
        means = self._means(mixture, tf.unstack(x / self.HALF_RANGE - 1.0, axis=-2))
        log_mass = _log_mass(
            x, self._to_grey(means), mixture.log_scales + math.log(self.HALF_RANGE)
        )
        joint = mixture.log_weights + tf.reduce_sum(log_mass, axis=-2)  # (N, H, W, K)
        return -tf.reduce_logsumexp(joint, axis=-1)

    def images(self, parameters):
        """The mean image, rounded. uint8 `[N, H, W, C]`.

        The mean of a component is that of its logistic clipped to the range of a pixel, which
        is within half a grey level of the sum over the 256 masses. A channel's mean is taken
        at the mean of the channels that it depends on.
        """
        mixture = self._mixture(parameters)
        scales = tf.exp(mixture.log_scales)
        observed: list[tf.Tensor] = []
        for channel in range(self.channels):
            mean = self._means(mixture, observed, upto=channel + 1)[..., channel, :]
            observed.append(_clipped_mean(mean, scales[..., channel, :]))
        weights = tf.exp(mixture.log_weights)[..., None, :]
        means = tf.reduce_sum(weights * tf.stack(observed, axis=-2), axis=-1)
        return to_image(self._to_grey(means))

    def _mixture(self, parameters) -> _Mixture:
        k, c = self.components, self.channels
        parameters = tf.cast(parameters, self.dtype)
        weights, means, scales, links = tf.split(
            parameters, [k, c * k, c * k, len(self._links) * k], axis=-1
        )
        pixel = tf.shape(parameters)[:-1]

        def per_component(values, count):  # (..., count·K) -> (..., count, K)
            return tf.reshape(values, tf.concat([pixel, [count, k]], axis=0))

        # The lower bound is approached smoothly, so that no scale gets stuck below it.
        scales = tf.minimum(per_component(scales, c), self.MAX_LOG_SCALE)
        return _Mixture(
            log_weights=tf.nn.log_softmax(weights),
            means=per_component(means, c),
            log_scales=self.MIN_LOG_SCALE + tf.math.softplus(scales - self.MIN_LOG_SCALE),
            coefficients=tf.tanh(per_component(links, len(self._links))),
        )

    def _means(self, mixture: _Mixture, observed: list[tf.Tensor], upto: int | None = None):
        """Means of the channels given those before them (eq. 3). float32 `[..., C, K]`.

        Args:
            observed: per channel, float32 `[..., 1]` or `[..., K]` in [-1, 1].
            upto: only the first so many channels.
        """
        means = tf.unstack(mixture.means, axis=-2)[:upto]
        for index, (source, target) in enumerate(self._links):
            if target < len(means):
                coefficient = mixture.coefficients[..., index, :]
                means[target] += coefficient * observed[source]
        return tf.stack(means, axis=-2)

    def _to_grey(self, value):
        return (value + 1.0) * self.HALF_RANGE


class _Mixture(NamedTuple):
    """A mixture per pixel; means and scales in half-ranges of a pixel, float32.

    Attributes:
        log_weights: `[N, H, W, K]`, ln π.
        means, log_scales: `[N, H, W, C, K]`.
        coefficients: `[N, H, W, links, K]`, α, β and γ in (-1, 1).
    """

    log_weights: tf.Tensor
    means: tf.Tensor
    log_scales: tf.Tensor
    coefficients: tf.Tensor


def _log_mass(x, means, log_scales):
    """ln of a logistic's integral over a grey level. All in grey levels.

    σ(b) - σ(a) = σ(b)·σ(-a)·(1 - exp(a - b)): a product of positive factors, so that the
    logarithm has its digits in the centre and in the tails alike.
    """
    inverse = tf.exp(-log_scales)
    upper = (x + 0.5 - means) * inverse
    lower = (x - 0.5 - means) * inverse
    black, white = x <= 0.0, x >= LEVELS - 1.0
    log_below_upper = tf.where(white, 0.0, -tf.math.softplus(-upper))
    log_above_lower = tf.where(black, 0.0, -tf.math.softplus(lower))
    width = tf.where(black | white, 0.0, tf.math.log(-tf.math.expm1(-inverse)))
    return log_below_upper + log_above_lower + width


def _clipped_mean(means, scales):
    """Mean of a logistic that is clipped to [-1, 1]."""
    # -1 + ∫ P(X > t) dt over [-1, 1].
    upper = tf.math.softplus((means + 1.0) / scales)
    return scales * (upper - tf.math.softplus((means - 1.0) / scales)) - 1.0
