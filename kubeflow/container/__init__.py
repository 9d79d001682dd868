"""What a pipeline task runs in its container, between Kubeflow's launcher and TFX's executors."""
