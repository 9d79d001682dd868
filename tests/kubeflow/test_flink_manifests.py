"""The manifests of a Flink session cluster: what the operator is asked for, and who may enter.

The operator's schema is not at hand; the fields of its CustomResourceDefinition that are used are
written out here, and the pods in it are held against Kubernetes' own schema.
"""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import yaml

import kubeflow
from pipeline.commands.beam_worker import beam_worker
from pipeline.config.beam import FlinkConfig
from tests.fixtures.kustomize import documents, rendered

FOLDER = Path(kubeflow.__path__[0]) / "manifests/flink"
CLUSTER, POLICY = rendered(FOLDER)
SPEC = CLUSTER["spec"]
# Of flink.apache.org/v1beta1, as of version 1.10 of the operator.
FIELDS = {
    "image", "flinkVersion", "mode", "serviceAccount", "flinkConfiguration", "podTemplate",
    "jobManager", "taskManager",
}  # fmt: skip
COMPONENT_FIELDS = {"replicas", "resource", "podTemplate"}


def as_pod(template: dict) -> dict:
    containers = [{"image": "flink", **each} for each in template["spec"]["containers"]]
    spec = {**template["spec"], "containers": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def test_the_cluster_has_the_fields_of_its_kind():
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == (
        "flink.apache.org/v1beta1",
        "FlinkDeployment",
    )
    assert set(SPEC) == FIELDS
    assert "job" not in SPEC  # a session: jobs come by REST
    for component in ("jobManager", "taskManager"):
        assert set(SPEC[component]) <= COMPONENT_FIELDS
    assert all(isinstance(value, str) for value in SPEC["flinkConfiguration"].values())
    minor = SPEC["flinkVersion"].removeprefix("v").replace("_", ".")
    assert SPEC["image"].startswith(f"flink:{minor}.")


def test_pods_and_policy_fit_the_schemas():
    for template in (SPEC["podTemplate"], SPEC["taskManager"]["podTemplate"]):
        kubernetes_validate.validate(as_pod(template), "1.31", strict=True)
    kubernetes_validate.validate(POLICY, "1.31", strict=True)


def test_lists_that_the_operator_merges_by_place_begin_alike():
    shared, own = SPEC["podTemplate"]["spec"], SPEC["taskManager"]["podTemplate"]["spec"]
    for name in ("containers", "volumes"):
        for one, other in zip(shared[name], own[name], strict=False):
            assert one["name"] == other["name"]


def test_the_workers_are_where_the_configuration_says():
    pod = SPEC["taskManager"]["podTemplate"]["spec"]
    workers = pod["containers"][1]
    program, command, *arguments = workers["command"]
    assert (program, command) == ("vqvae", beam_worker.name)
    with beam_worker.make_context("x", list(arguments)) as context:
        assert f"localhost:{context.params['port']}" == FlinkConfig().worker_pool
        assert context.params["host"] == "127.0.0.1"
        scratch = str(context.params["scratch"])
    assert scratch in [each["mountPath"] for each in workers["volumeMounts"]]
    security = workers["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] == 1000
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in workers["resources"]["limits"]
    assert pod["automountServiceAccountToken"] is False
    claims = {
        each["metadata"]["name"]
        for each in documents(FOLDER.parent / "volumes.yaml")
        if each["kind"] == "PersistentVolumeClaim"
    }
    assert pod["volumes"][-1]["persistentVolumeClaim"]["claimName"] in claims


def test_nobody_else_reaches_the_rest_api():
    selector = {"app": CLUSTER["metadata"]["name"]}  # as the operator labels its pods
    assert POLICY["spec"]["podSelector"]["matchLabels"] == selector
    inside, tasks = POLICY["spec"]["ingress"]
    assert inside["from"] == [{"podSelector": {"matchLabels": selector}}]
    assert [port["port"] for port in tasks["ports"]] == [8081]
    assert all(each for each in tasks["from"])  # an empty selector lets everybody in


def test_the_kustomization_lists_every_file():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {*listed, "kustomization.yaml"}
