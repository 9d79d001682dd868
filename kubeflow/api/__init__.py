"""Kubeflow Pipelines' API: uploads, runs, schedules."""
