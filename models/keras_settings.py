"""Keras as the networks are written for it, whatever the user's `keras.json` and environment say.

Keras reads its settings once, when it is imported, so every package of ours imports this first.
What is set in the environment reaches child processes, such as Beam's workers, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = str(Path(__file__).resolve().parent)  # of our keras.json
os.environ.pop("TF_USE_LEGACY_KERAS", None)  # tf.Transform sets it as it needs it

if "keras" in sys.modules:  # in a program of somebody else
    import keras

    if keras.config.backend() != "tensorflow":
        raise ImportError(
            f"Keras runs on {keras.config.backend()} in this process, and these models need "
            "TensorFlow: import them before Keras, or set KERAS_BACKEND=tensorflow"
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
