"""TensorFlow Serving in the manifests: what it follows, its mirror, batching and monitoring."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from components.release_store import models_config
from components.release_store.rollout import Served
from pipeline.commands.releases import releases
from pipeline.serving.mirror_status import HEALTH
from tests.fixtures.kubeflow_manifests import (
    BY_PLACE,
    FOLDER,
    OBJECTS,
    PLACES,
    TEMPLATE,
    mirror_in,
)
from tests.fixtures.kustomize import documents


@pytest.mark.parametrize("place", PLACES)
def test_servers_follow_the_models_config_of_their_place(place):
    (deployment,) = [each for each in BY_PLACE[place] if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    arguments = arguments_of(container)
    store = arguments["model_config_file"].removesuffix("/models.config")
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    if place == "serve-from-gcs":
        # What TensorFlow Serving opens by itself; nothing else has a scheme.
        assert store.startswith("gs://")
        assert "store" not in mounts
    else:
        assert mounts["store"] == {"name": "store", "mountPath": store, "readOnly": True}
    text = models_config.render(store, ["encode", "decode", "sample"], Served(1))
    probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe")]
    for path in probes:
        assert f'name: "{path.rpartition("/")[2]}"' in text
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert ports == {"grpc": arguments["port"], "rest": arguments["rest_api_port"]}
    assert int(arguments["model_config_file_poll_wait_seconds"]) > 0


def test_servers_on_the_volume_wait_for_the_first_release():
    (deployment,) = [each for each in BY_PLACE["serve-from-volume"] if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (waiting,) = pod["initContainers"]
    config = arguments_of(pod["containers"][0])["model_config_file"]
    assert f"-s {config} " in waiting["args"][0]
    (store,) = [each for each in pod["volumes"] if each["name"] == "store"]
    assert store["persistentVolumeClaim"] == {"claimName": "vqvae-serving", "readOnly": True}
    assert all(each["readOnly"] for each in waiting["volumeMounts"])


def test_servers_of_a_bucket_have_a_mirror_beside_them():
    template, server = serving_pod()
    (deployment,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    (mirror,) = mirror_in(deployment)
    assert mirror["restartPolicy"] == "Always"  # a sidecar; the server waits for its probe
    arguments = arguments_of(mirror)
    assert mirror["command"] == ["vqvae", "releases", "mirror"]
    assert "--follow" in mirror["args"]
    config = arguments_of(server)["model_config_file"]
    assert f"{arguments['to']}/models.config" == config
    (store,) = [each for each in template["spec"]["volumes"] if each["name"] == "store"]
    assert "emptyDir" in store
    assert mirror["volumeMounts"] == [{"name": "store", "mountPath": arguments["to"]}]
    # The kubelet asks the pod's address, not the loopback.
    assert arguments["host"] == "0.0.0.0"
    (port,) = mirror["ports"]
    assert str(port["containerPort"]) == arguments["port"]
    probe = mirror["startupProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == (HEALTH, port["name"])
    # A store that does not answer stops no server.
    assert not {"livenessProbe", "readinessProbe"} & {*mirror}
    looks = int(arguments_of(server)["model_config_file_poll_wait_seconds"])
    assert int(arguments["grace"]) > 10 * looks
    (secret,) = documents(FOLDER / TEMPLATE)
    assert mirror["envFrom"] == [
        {"secretRef": {"name": secret["metadata"]["name"], "optional": True}}
    ]


def test_the_mirror_understands_its_arguments(tmp_path):
    (deployment,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    (mirror,) = mirror_in(deployment)
    arguments = [each for each in mirror["args"] if not each.startswith(("--to=", "--store="))]
    command = [mirror["command"][2], *arguments, f"--to={tmp_path / 'm'}", "--store=no-bucket"]
    result = CliRunner().invoke(releases, command)
    assert "servers read a folder without a mirror" in str(result.exception)


def arguments_of(container):
    return dict(each.removeprefix("--").split("=") for each in container["args"] if "=" in each)


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
