"""The manifests: the API's schemas, the restricted Pod Security Standard, and names that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kubeflow_trainer_api.models as trainer_models
import kubernetes_validate
import pytest
import yaml
from fake_kubernetes_api import missing_part_of

import kubeflow
from components import serving_config
from components.rollout import Served
from kubeflow.training_job.manifest import build
from kubeflow.training_job.settings import TrainingJobSettings
from pipeline.cluster_config import TrainingJobConfig

FOLDER = Path(kubeflow.__path__[0]) / "manifests"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSION = "1.31"
# Not in the kustomization: it is to be filled in.
TEMPLATE = "object-store-secret.template.yaml"


def documents(name):
    return [each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each]


OBJECTS = [each for name in KUSTOMIZATION["resources"] for each in documents(name)]
IDS = [f"{each['kind']}-{each['metadata']['name']}" for each in OBJECTS]


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
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml", TEMPLATE}


def test_every_image_gets_a_fixed_version_from_the_kustomization():
    images = {
        container["image"]
        for each in OBJECTS
        for pod in pods(each)
        for container in pod["containers"] + pod.get("initContainers", [])
    }
    pinned = {each["name"]: each for each in KUSTOMIZATION["images"]}
    assert set(pinned) == images - {"vqvae"}  # which the TrainJob replaces
    assert all("digest" in each or each["newTag"] != "latest" for each in pinned.values())


def test_the_kustomization_alone_decides_the_namespace():
    assert all("namespace" not in each["metadata"] for each in OBJECTS)
    assert not any(each["kind"].startswith("Cluster") for each in OBJECTS)


def test_services_and_policies_select_pods_that_are_there():
    (deployment,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    (runtime,) = [each for each in OBJECTS if each["kind"] == "TrainingRuntime"]
    (service,) = [each for each in OBJECTS if each["kind"] == "Service"]
    policies = {
        each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == "NetworkPolicy"
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
    assert {port["port"] for port in metrics["ports"]} == {ports["rest"]}
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"vqvae-monitoring": "true"}}}]


@pytest.mark.parametrize("thing", [*OBJECTS, *documents(TEMPLATE)], ids=[*IDS, "Secret"])
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
    "pod", [pod for each in [*OBJECTS, tf_job()] for pod in pods(each)], ids=lambda _: "pod"
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
    text = json.dumps(OBJECTS)
    for pod in (pod for each in OBJECTS for pod in pods(each)):
        assert ("ServiceAccount", pod["serviceAccountName"]) in names
        for volume in pod["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in names
            if settings := volume.get("configMap"):
                assert ("ConfigMap", settings["name"]) in names
    assert ("TrainingRuntime", TrainingJobConfig().runtime) in names
    assert ("Role", "vqvae-training-jobs") in names
    assert "secretKeyRef" not in text


def test_servers_read_the_store_where_the_pipeline_writes_it():
    (deployment,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (config,) = [each for each in container["args"] if each.startswith("--model_config_file=")]
    store = config.partition("=")[2].rpartition("/")[0]
    assert store in {mount["mountPath"] for mount in container["volumeMounts"]}
    text = serving_config.render(store, ["encode", "decode", "sample"], Served(1))
    probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe")]
    for path in probes:
        assert f'name: "{path.rpartition("/")[2]}"' in text
    arguments = arguments_of(container)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert ports == {"grpc": arguments["port"], "rest": arguments["rest_api_port"]}
    assert int(arguments["model_config_file_poll_wait_seconds"]) > 0
    (waiting,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert f"{store}/models.config" in waiting["args"][0]
    assert all(each["readOnly"] for each in container["volumeMounts"] if each["name"] == "store")


def arguments_of(container):
    return dict(each.removeprefix("--").split("=") for each in container["args"])


def serving_pod():
    (deployment,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    return template, template["spec"]["containers"][0]


def test_servers_take_labels_of_versions_that_are_still_to_be_loaded_and_batch_by_model():
    _, container = serving_pod()
    arguments = arguments_of(container)
    for flag in (
        "force_allow_any_version_labels_for_unavailable_models",
        "enable_batching",
        "enable_per_model_batching_parameters",
    ):
        assert arguments[flag] == "true"
    # One file for all would batch `sample`, whose scalar inputs cannot be.
    assert "batching_parameters_file" not in arguments


def test_metrics_are_where_prometheus_is_told_to_look():
    template, container = serving_pod()
    (settings,) = [each for each in OBJECTS if each["kind"] == "ConfigMap"]
    folder, _, name = arguments_of(container)["monitoring_config_file"].rpartition("/")
    (volume,) = [each for each in template["spec"]["volumes"] if "configMap" in each]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert (volume["configMap"]["name"], mounts[volume["name"]]) == (
        settings["metadata"]["name"],
        folder,
    )
    # tensorflow-serving-api does not carry the message MonitoringConfig.
    path = re.fullmatch(
        r'prometheus_config \{ enable: true, path: "(.+)" \}\n', settings["data"][name]
    )[1]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": arguments_of(container)["rest_api_port"],
        "prometheus.io/path": path,
    }


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
    (secret,) = documents(TEMPLATE)
    assert set(secret["stringData"].values()) == {""}
