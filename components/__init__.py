"""TFX components, and the release store that they write."""

import models  # noqa: F401 - before anything here imports Keras
