"""The compiled pipeline obeys the backend's rules; what breaks them is refused with the reason."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import yaml
from click.testing import CliRunner
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.errors import PipelineError
from kubeflow.commands.compile import compile_command
from kubeflow.compiler import lint
from kubeflow.compiler.backends import BACKENDS
from kubeflow.compiler.compile import compile_pipeline, to_yaml
from pipeline.config import config as configuration
from pipeline.config.config import ConfigError
from tests.fixtures.compiled import IMAGE, PLACES, container

PODS = (
    "kubeflow.pods={cpu: 2, memory: 6Gi, env: {AWS_ENDPOINT_URL: 'http://minio:9000'}, secret_env: "
    "{AWS_SECRET_ACCESS_KEY: {secret: store, key: password}}, timeout: 7200}",
    "kubeflow.components={Trainer-vqvae: {gpu_count: 2, memory: 16Gi, shared_memory: 2Gi, "
    "node_selector: {gpu: l4}, tolerations: [{key: nvidia.com/gpu, operator: Exists}], "
    "volumes: [{claim: vqvae-work, path: /mnt/vqvae/work}]}}",
)


@pytest.fixture(scope="module")
def documents():
    return compile_pipeline(configuration.load("digits", PODS), PLACES)


@pytest.fixture
def broken(documents):
    """A copy to break, and the problems that the lint finds in it."""
    changed = copy.deepcopy(documents)
    return changed, lambda backend=(2, 17): list(lint.problems(changed, backend))


def test_every_task_has_our_command_resources_and_retries(documents):
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert len(tasks) == 13
    for name, task in tasks.items():
        made = container(documents, name)
        assert made["command"] == ["python", "-m", "kubeflow.container"]
        assert made["image"] == IMAGE
        assert made["resources"]["resourceCpuLimit"] == "2"
        assert made["resources"]["resourceMemoryRequest"] in ("6Gi", "16Gi")
        assert task["retryPolicy"]["maxRetryCount"] == 2
        assert "lifecycle" not in made


def test_gpus_and_pod_settings_of_one_component(documents):
    resources = container(documents, "Trainer-vqvae")["resources"]
    assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert resources["accelerator"]["resourceCount"] == "2"
    assert "accelerator" not in container(documents, "Trainer-prior")["resources"]
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    trainer = executors["Trainer-vqvae_executor"]
    assert trainer["nodeSelector"] == {"labels": {"gpu": "l4"}}
    assert trainer["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert trainer["pvcMount"][0]["mountPath"] == "/mnt/vqvae/work"
    (memory,) = trainer["emptyDirMounts"]
    assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")
    assert trainer["activeDeadlineSeconds"] == "7200"
    (secret,) = executors["Evaluator_executor"]["secretAsEnv"]
    assert secret["keyToEnv"] == [{"secretKey": "password", "envVar": "AWS_SECRET_ACCESS_KEY"}]


def test_only_what_depends_on_its_inputs_alone_is_cached(documents):
    tasks = documents[0]["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task["cachingOptions"]}
    assert uncached == {"ImageExampleGen", "Baseline", "Pusher"}


def test_both_trainings_begin_with_the_release_that_baseline_found():
    warm = configuration.load("digits", ("training.warm_start=last_release",))
    tasks = compile_pipeline(warm, PLACES)[0]["root"]["dag"]["tasks"]
    for trainer in ("Trainer-vqvae", "Trainer-prior"):
        given = tasks[trainer]["inputs"]["artifacts"]["baseline_model"]["taskOutputArtifact"]
        assert given["producerTask"] == "Baseline"


def test_the_report_has_the_types_that_kubeflows_pages_show(documents):
    spec = pipeline_spec_pb2.PipelineSpec()
    json_format.ParseDict(documents[0], spec)
    made = spec.components["Report"].output_definitions.artifacts
    assert {name: each.artifact_type.schema_title for name, each in made.items()} == {
        "report": "system.HTML",
        "metrics": "system.Metrics",
    }
    assert {each.artifact_type.schema_version for each in made.values()} == {"0.0.1"}
    # Last of all, also where the gate refuses: the Pusher then succeeds without a release.
    assert "Pusher" in spec.root.dag.tasks["Report"].dependent_tasks


def test_a_runtime_parameter_is_told_in_the_manifest_and_in_the_report(documents):
    for component in ("Pusher", "Report"):
        told = [each for each in container(documents, component)["args"] if "=config/" in each]
        assert "vqvae_steps=config/training/vqvae/steps" in told
        assert len(told) == len(documents[0]["root"]["inputDefinitions"]["parameters"])


def test_runtime_parameters_have_the_configurations_values_as_defaults(documents):
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert defaults == {
        "data": "s3://images/day-{SPAN}",
        "vqvae_steps": 1500,
        "prior_steps": 600,
        "gate_nmse_max": 0.04,
        "gate_nmse_worse_by": 0.1,
        "gate_code_usage_min": 0.95,
        "gate_prior_bits_per_code_max": 5.5,
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_fields_of_newer_backends_are_left_out(documents, backend):
    compiled = compile_pipeline(configuration.load("digits"), PLACES, backend)
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for settings in executors.values():
        assert ("securityContext" in settings) == (backend in ("2.16", "2.17"))


def test_equal_pipelines_give_equal_files(documents):
    again = compile_pipeline(configuration.load("digits", PODS), PLACES)
    assert to_yaml(again) == to_yaml(documents)
    assert list(yaml.safe_load_all(to_yaml(documents))) == documents


def test_the_sdk_reads_both_documents(documents, tmp_path):
    from kfp import components

    path = tmp_path / "pipeline.yaml"
    path.write_text(to_yaml(documents))
    component = components.load_component_from_file(str(path))
    assert set(component.component_spec.inputs) == set(
        documents[0]["root"]["inputDefinitions"]["parameters"]
    )
    assert component.platform_spec.platforms["kubernetes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "vqvae:latest"}, "must name a digest"),
        ({"data": "data/digits"}, r"--data data/digits: must be a URI"),
        ({"serving": "s3://me:secret@bucket/x"}, "holds credentials"),
        ({"pipeline_root": "/mnt/x"}, "--pipeline-root /mnt/x: must be a URI"),
    ],
)
def test_places_no_pod_could_use_are_refused(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compile_pipeline(configuration.load("digits"), dataclasses.replace(PLACES, **change))
    assert "\n" not in str(caught.value)


def test_a_schema_on_this_machine_is_refused():
    config = configuration.load("digits", ("data.schema_path=schema.pbtxt",))
    with pytest.raises(ConfigError, match=r"data\.schema_path .*by URI"):
        compile_pipeline(config, PLACES)


def test_a_schema_by_uri_is_imported():
    config = configuration.load("digits", ("data.schema_path=s3://images/schema.pbtxt",))
    spec = compile_pipeline(config, PLACES)[0]
    assert "container" in spec["deploymentSpec"]["executors"]["ImportSchemaGen_executor"]
    # Kubeflow does not look into the file, and would take the schema of another day.
    assert spec["root"]["dag"]["tasks"]["ImportSchemaGen"]["cachingOptions"] == {}


def test_the_lint_passes_what_was_compiled(broken):
    _, problems = broken
    assert problems() == []


def test_a_credential_in_the_environment_is_refused():
    config = configuration.load("digits", ("kubeflow.pods.env={DB_PASSWORD: hunter2}",))
    with pytest.raises(PipelineError, match=r"DB_PASSWORD looks like a credential") as caught:
        compile_pipeline(config, PLACES)
    assert "hunter2" not in str(caught.value)


def breakages():
    def resolver(spec, platform):
        spec["deploymentSpec"]["executors"]["Baseline_executor"] = {"resolver": {}}

    def default(spec, platform):
        del spec["root"]["inputDefinitions"]["parameters"]["data"]["defaultValue"]

    def literal(spec, platform):
        parameters = spec["root"]["dag"]["tasks"]["Trainer-vqvae"]["inputs"]["parameters"]
        parameters["custom_config"]["runtimeValue"]["constant"] = (
            '{"steps": {"__class__": "RuntimeParameter", "__module__": "tfx"}}'
        )

    def long_argument(spec, platform):
        spec["deploymentSpec"]["executors"]["Pusher_executor"]["container"]["args"][-1] = (
            "x" * 200_000
        )

    def producer(spec, platform):
        tasks = spec["root"]["dag"]["tasks"]
        tasks["Pusher"]["inputs"]["parameters"]["config"] = {
            "taskOutputParameter": {"producerTask": "X_task", "outputParameterKey": "value"}
        }

    def underscore(spec, platform):
        tasks = spec["root"]["dag"]["tasks"]
        tasks["my_task"] = tasks.pop("StatisticsGen")

    def cached(spec, platform):
        spec["root"]["dag"]["tasks"]["ImageExampleGen"]["cachingOptions"] = {"enableCache": True}

    def schema(spec, platform):
        spec["schemaVersion"] = "2.0.0"

    def lifecycle(spec, platform):
        spec["deploymentSpec"]["executors"]["ImageExampleGen_executor"]["container"][
            "lifecycle"
        ] = {"preCacheCheck": {"command": ["true"]}}

    def resources(spec, platform):
        del spec["deploymentSpec"]["executors"]["Transform_executor"]["container"]["resources"]

    def unknown(spec, platform):
        spec["root"]["dag"]["tasks"]["Pusher"]["colour"] = "red"

    def platform_field(spec, platform):
        platform["Pusher_executor"]["colour"] = "red"

    def shared_memory(spec, platform):
        platform["Pusher_executor"]["enabledSharedMemory"] = {"size": "1Gi"}

    def placeholder(spec, platform):
        parameters = spec["root"]["dag"]["tasks"]["Pusher"]["inputs"]["parameters"]
        parameters["push_id"]["runtimeValue"]["constant"] = "run-{{$.pipeline_job_uuid}}"

    return [
        (resolver, "is a resolver"),
        (default, "'data' has no default"),
        (literal, "has become text"),
        (long_argument, "argument of 200,000 characters"),
        (producer, "X_task, which does not exist"),
        (underscore, "letters, digits and dashes"),
        (cached, "ImageExampleGen is cached"),
        (schema, "takes 2.1.0 only"),
        (lifecycle, "never runs"),
        (resources, "whole node"),
        (unknown, "not a PipelineSpec"),
        (platform_field, "colour"),
        (shared_memory, "enabledSharedMemory"),
        (placeholder, "placeholder that the backend does not know"),
    ]


@pytest.mark.parametrize(
    ("breakage", "message"), breakages(), ids=[each.__name__ for each, _ in breakages()]
)
def test_what_the_backend_would_refuse_is_found(broken, breakage, message):
    changed, problems = broken
    breakage(changed[0], changed[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    assert any(message in problem for problem in problems()), problems()
    with pytest.raises(PipelineError, match="the compiled pipeline would not run"):
        lint.check(changed, (2, 17))


def test_a_field_too_new_for_the_backend_is_found(broken):
    _, problems = broken
    assert any("does not know securityContext" in problem for problem in problems((2, 15)))


def test_the_command_writes_the_file_and_names_the_parameters(tmp_path):
    out = tmp_path / "pipeline.yaml"
    options = [f"--image={IMAGE}", "--data=s3://b/d", "--serving=s3://b/serving", f"--out={out}"]
    done = CliRunner().invoke(compile_command, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert "13 tasks" in done.output
    assert "--param vqvae_steps=1500" in done.output
    spec, _ = yaml.safe_load_all(out.read_text())
    trainer = spec["root"]["dag"]["tasks"]["Trainer-vqvae"]["inputs"]["parameters"]
    assert "s3://b/checkpoints" in trainer["custom_config"]["runtimeValue"]["constant"]
