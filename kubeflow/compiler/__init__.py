"""From the one DAG to a file that Kubeflow Pipelines runs."""
