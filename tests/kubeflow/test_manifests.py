"""The manifests: the API's schemas, the restricted Pod Security Standard, and names that exist."""

from __future__ import annotations

import json

import kubeflow_trainer_api.models as trainer_models
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from components.trainer.run import KEPT_LOGS
from kubeflow.commands.payloads import payloads
from kubeflow.training_job.manifest import build
from kubeflow.training_job.settings import TrainingJobSettings
from pipeline.config.pods import TrainingJobConfig
from tests.fixtures.fake_kubernetes_api import missing_part_of
from tests.fixtures.kubeflow_manifests import (
    ALL,
    BY_PLACE,
    FOLDER,
    OBJECTS,
    PLACES,
    TEMPLATE,
    mirror_in,
)
from tests.fixtures.kustomize import documents

KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSION = "1.31"
# Not in the kustomization, as `TEMPLATE`: for all of Kubeflow; for pipelines with a data root.
TENSORBOARD = "tensorboard.yaml"
PRUNE = "prune-payloads.yaml"
(PRUNING,) = documents(FOLDER / PRUNE)
IDS = [f"{each['kind']}-{each['metadata']['name']}" for each in ALL]


def tf_job():
    settings = TrainingJobSettings.model_validate(
        {
            "image": "i",
            "workers": 2,
            "job": {"backend": "tfjob", "staging": "/mnt/vqvae/work"},
            "pod": {
                "cpu": "1", "memory": "1Gi", "shared_memory": "1Gi",
                "volumes": [{"claim": "vqvae-work", "path": "/mnt/vqvae/work"}],
            },
        }
    )  # fmt: skip
    return build(settings, "vqvae-x", ["python"])


def pods(thing):
    """Every pod of an object: dictionaries that have containers."""
    if isinstance(thing, dict):
        if "containers" in thing:
            yield thing
        for value in thing.values():
            yield from pods(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from pods(value)


def test_the_kustomization_lists_every_file():
    files = {path.name for path in FOLDER.glob("*.yaml")}
    by_hand = {"kustomization.yaml", TEMPLATE, TENSORBOARD, PRUNE}
    assert files == {*KUSTOMIZATION["resources"], *by_hand}
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()} - {"__pycache__", "flink"}
    assert {None, *folders} == {*PLACES}
    assert KUSTOMIZATION["components"] == []
    comment = (FOLDER / "kustomization.yaml").read_text()
    assert all(f"[{folder}]" in comment for folder in folders)


def test_every_image_gets_a_fixed_version_from_the_kustomization():
    images = {
        container["image"]
        for each in ALL
        for pod in pods(each)
        for container in pod["containers"] + pod.get("initContainers", [])
    }
    pinned = {each["name"]: each for each in KUSTOMIZATION["images"]}
    assert set(pinned) == images
    assert all("digest" in each or each["newTag"] != "latest" for each in pinned.values())


def test_the_kustomization_alone_decides_the_namespace():
    assert all("namespace" not in each["metadata"] for each in OBJECTS)
    assert not any(each["kind"].startswith("Cluster") for each in OBJECTS)


@pytest.mark.parametrize("place", PLACES)
def test_services_and_policies_select_pods_that_are_there(place):
    objects = BY_PLACE[place]
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    (runtime,) = [each for each in objects if each["kind"] == "TrainingRuntime"]
    (service,) = [each for each in objects if each["kind"] == "Service"]
    policies = {
        each["metadata"]["name"]: each for each in objects if each["kind"] == "NetworkPolicy"
    }
    serving = deployment["spec"]["template"]
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    training = job["template"]["spec"]["template"]

    selected = deployment["spec"]["selector"]["matchLabels"].items()
    assert selected <= serving["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= serving["metadata"]["labels"].items()
    ports = {
        port["name"]: port["containerPort"] for port in serving["spec"]["containers"][0]["ports"]
    }
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    for name, template in {"vqvae-serving": serving, "vqvae-training": training}.items():
        selector = policies[name]["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
    clients, metrics = policies["vqvae-serving"]["spec"]["ingress"]
    assert {port["port"] for port in clients["ports"]} == set(ports.values())
    # A rule without `from` is open to everybody, as is an empty selector to the namespace.
    assert clients["from"] == [{"podSelector": {"matchLabels": {"vqvae-client": "true"}}}]
    mirrors = mirror_in(deployment)
    metrics_ports = {ports["rest"], *(mirror["ports"][0]["containerPort"] for mirror in mirrors)}
    assert {port["port"] for port in metrics["ports"]} == metrics_ports
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"vqvae-monitoring": "true"}}}]
    # Only a mirror, or a server that opens a bucket itself, has anybody to speak to.
    spoken_to = {
        port["port"]
        for rule in policies["vqvae-serving"]["spec"]["egress"]
        for port in rule["ports"]
    }
    assert (
        spoken_to
        == {
            None: {53, 443, 9000},
            "serve-from-volume": set(),
            "serve-from-gcs": {53, 443, 80, 988},
        }[place]
    )


@pytest.mark.parametrize(
    "thing", [*ALL, *documents(FOLDER / TEMPLATE), PRUNING], ids=[*IDS, "Secret", "CronJob"]
)
def test_schemas(thing):
    if thing["kind"] == "TrainingRuntime":
        parsed = trainer_models.TrainerV1alpha1TrainingRuntime.from_dict(thing)
        # The models drop what they do not know.
        assert missing_part_of(thing, json.loads(parsed.to_json())) == ""
    else:
        kubernetes_validate.validate(thing, VERSION, strict=True)


def test_the_pod_of_a_tfjob_is_a_pod():
    template = tf_job()["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize(
    "pod", [pod for each in [*ALL, tf_job(), PRUNING] for pod in pods(each)], ids=lambda _: "pod"
)
def test_restricted_pod_security(pod):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, restricted."""
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    allowed = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
        "projected", "secret",
    }  # fmt: skip
    for volume in pod.get("volumes", []):
        assert set(volume) - {"name"} <= allowed
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = set()
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not own.get("privileged")
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert own["readOnlyRootFilesystem"] is True
        mounted |= {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_every_name_exists():
    names = {(each["kind"], each["metadata"]["name"]) for each in OBJECTS}
    text = json.dumps(ALL)
    for pod in (pod for each in ALL for pod in pods(each)):
        assert ("ServiceAccount", pod["serviceAccountName"]) in names
        for volume in pod["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in names
            if settings := volume.get("configMap"):
                assert ("ConfigMap", settings["name"]) in names
    assert ("TrainingRuntime", TrainingJobConfig().runtime) in names
    assert ("Role", "vqvae-training-jobs") in names
    assert "secretKeyRef" not in text


def test_payloads_are_pruned_by_a_command_that_is_there(tmp_path):
    (pod,) = pods(PRUNING)
    (container,) = pod["containers"]
    program, group, *arguments = container["command"]
    assert (program, group) == ("vqvae", "payloads")
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] in arguments
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert ("PersistentVolumeClaim", claim) in {
        (each["kind"], each["metadata"]["name"]) for each in OBJECTS
    }
    (tmp_path / "payloads").mkdir()
    here = [str(tmp_path) if each == mount["mountPath"] else each for each in arguments]
    done = CliRunner().invoke(payloads, here, catch_exceptions=False)
    assert done.output == "0 removed, 0.0 MiB; 0 in use\n"


def test_tensorboard_looks_where_trainings_keep_their_logs():
    (thing,) = documents(FOLDER / TENSORBOARD)
    # All that the resource has: https://github.com/kubeflow/kubeflow, tensorboard_types.go.
    assert {*thing} == {"apiVersion", "kind", "metadata", "spec"}
    assert (thing["apiVersion"], thing["kind"]) == (
        "tensorboard.kubeflow.org/v1alpha1",
        "Tensorboard",
    )
    assert {*thing["spec"]} == {"logspath"}
    claim, _, path = thing["spec"]["logspath"].removeprefix("pvc://").partition("/")
    assert ("PersistentVolumeClaim", claim) in {
        (each["kind"], each["metadata"]["name"]) for each in OBJECTS
    }
    assert path == f"checkpoints/{KEPT_LOGS}"


def test_the_workers_may_do_what_the_task_does_and_no_more():
    (role,) = [each for each in OBJECTS if each["kind"] == "Role"]
    granted = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs = {
        (kind, verb) for kind in ("trainjobs", "tfjobs") for verb in ("create", "get", "delete")
    }
    assert granted == {*jobs, ("pods", "list"), ("pods/log", "get")}


def test_the_template_holds_no_credentials():
    (secret,) = documents(FOLDER / TEMPLATE)
    assert set(secret["stringData"].values()) == {""}
