"""What a training step changes besides what the gradient moves."""

from __future__ import annotations

import keras
import tensorflow as tf

# New values of variables, computed but not yet assigned.
Updates = list[tuple[keras.Variable, tf.Tensor]]
