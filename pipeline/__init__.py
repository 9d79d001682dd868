"""The command line, and the pipeline on this machine."""

import models  # noqa: F401 - before anything here imports Keras
