"""The pipeline on open-source Kubeflow Pipelines: compiled, submitted, scheduled, run in pods."""
