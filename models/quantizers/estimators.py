"""How the gradient passes a choice that has none, from the decoder to the encoder."""

from __future__ import annotations

import tensorflow as tf

# Vectors shorter than this have no direction.
_SHORTEST = 1e-6


def straight_through(z, q):
    """q, with the gradient of the identity (van den Oord et al. 2017, section 3.2).

    Args:
        z: float32 `[P, D]`, encodings; they receive the gradient.
        q: float32 `[P, D]`, the vectors chosen for them; they receive none.
    """
    return z + tf.stop_gradient(q - z)


def rotation(z, q):
    """q, as a rotation and scaling of z that the gradient takes for constant (Fifty et al. 2024).

        q = λ R z,  λ = |q| / |z|,  R = I - 2 r rᵀ + 2 q̂ ẑᵀ,  r = (ẑ + q̂) / |ẑ + q̂|

    (arXiv 2410.06424, section 4.2.) The gradient of z is λ Rᵀ times that of q: the angle between
    the gradient and the code is kept, where the straight-through estimator keeps the direction.

    Args:
        z: float32 `[P, D]`, encodings; they receive the gradient.
        q: float32 `[P, D]`, the vectors chosen for them; they receive none.
    """
    q = tf.stop_gradient(q)
    constant = tf.stop_gradient(z)
    z_length = tf.norm(constant, axis=1, keepdims=True)
    q_length = tf.norm(q, axis=1, keepdims=True)
    z_unit = constant / tf.maximum(z_length, _SHORTEST)
    q_unit = q / tf.maximum(q_length, _SHORTEST)
    between = z_unit + q_unit
    between = between / tf.maximum(tf.norm(between, axis=1, keepdims=True), _SHORTEST)
    rotated = z - 2.0 * between * _dot(between, z) + 2.0 * q_unit * _dot(z_unit, z)
    moved = q_length / tf.maximum(z_length, _SHORTEST) * rotated
    # Without a direction of z there is no angle to keep.
    moved = tf.where(z_length < _SHORTEST, z, moved)
    # Exactly q in the forward direction, also where R was rounded.
    return moved + tf.stop_gradient(q - moved)


def _dot(a, b):
    return tf.reduce_sum(a * b, axis=1, keepdims=True)


ESTIMATORS = {"straight_through": straight_through, "rotation": rotation}
