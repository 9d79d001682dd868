"""The pipeline on open-source Kubeflow Pipelines: compiled, submitted, scheduled, run in pods."""

import models  # noqa: F401 - before anything here imports Keras
