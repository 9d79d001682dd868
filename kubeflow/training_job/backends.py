"""The two kinds of jobs that start workers, as Kubernetes and their controllers name them."""

from __future__ import annotations

from typing import NamedTuple


class Backend(NamedTuple):
    """A custom resource of Kubernetes whose controller starts pods.

    Attributes:
        group, version, kind, plural: of the resource.
        container: name of the workers' container, which the controller looks for.
        job_label: says of a pod whose job's it is.
        index_label: says of a pod which worker it is.
    """

    group: str
    version: str
    kind: str
    plural: str
    container: str
    job_label: str
    index_label: str

    @property
    def api_version(self) -> str:
        """As it stands in a manifest."""
        return f"{self.group}/{self.version}"


# By the setting `kubeflow.training_job.backend`.
BACKENDS = {
    "trainjob": Backend(
        group="trainer.kubeflow.org",
        version="v1alpha1",
        kind="TrainJob",
        plural="trainjobs",
        container="node",
        job_label="jobset.sigs.k8s.io/jobset-name",
        index_label="batch.kubernetes.io/job-completion-index",
    ),
    "tfjob": Backend(
        group="kubeflow.org",
        version="v1",
        kind="TFJob",
        plural="tfjobs",
        container="tensorflow",
        job_label="training.kubeflow.org/job-name",
        index_label="training.kubeflow.org/replica-index",
    ),
}
