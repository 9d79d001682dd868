"""The networks, their sampler and their SavedModels: plain Keras and TensorFlow."""

import models.keras_settings  # noqa: F401 - before anything here imports Keras
