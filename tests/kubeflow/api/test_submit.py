"""`vqvae submit` through the real client, against a server with the real one's rules."""

from __future__ import annotations

import sys

import pytest
import yaml

from kubeflow.api import submit as submitting
from kubeflow.container.verdict import format_verdict
from pipeline.commands import cli
from tests.fixtures.fake_kfp_api import FakeApi
from tests.fixtures.fake_kfp_server import serving

TOKEN = "token-that-nobody-may-see"
SPEC = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "digits"},
    "root": {
        "inputDefinitions": {
            "parameters": {
                "data": {"parameterType": "STRING", "defaultValue": "s3://images"},
                "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 10},
                "nmse": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.1},
            }
        },
        "dag": {"tasks": {"Pusher": {"componentRef": {"name": "Pusher"}}}},
    },
}


@pytest.fixture
def api():
    with serving(FakeApi()) as server:
        server.logs["Pusher"] = "noise\n" + format_verdict(7) + "\n"
        yield server


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([SPEC, {"platforms": {"kubernetes": {}}}]))
    return path


@pytest.fixture
def submit(api, package, monkeypatch, capsys):
    """Runs the command as a user does; returns its exit status and what it printed."""
    monkeypatch.setattr(submitting, "_POLL", 0.01)
    monkeypatch.setattr("kubeflow.api.client._FIRST_WAIT", 0.01)
    for name in ("KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def run(*options, root="minio://mlpipeline/v2", host=None):
        arguments = ["submit", str(package), f"--host={host or api.address}", *options]
        if root:
            arguments.append(f"--pipeline-root={root}")
        monkeypatch.setattr(sys, "argv", ["vqvae", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        return status, printed.out, printed.err

    return run


def test_a_run_that_releases(submit, api):
    api.states = [
        {"Transform": "RUNNING"},
        {"Transform": "SUCCEEDED", "Pusher": "RUNNING"},
        {"Transform": "SUCCEEDED", "Pusher": "SUCCEEDED"},
    ]
    status, out, _ = submit("--param", "steps=5", "--run-name=first")
    assert status == 0
    assert out.splitlines()[-1] == "released version 7"
    states = [line.split()[1:] for line in out.splitlines()[1:-1]]
    assert states == [
        ["Transform", "running"],
        ["Transform", "succeeded"],
        ["Pusher", "running"],
        ["Pusher", "succeeded"],
    ]
    (run,) = api.runs.values()
    assert run["display_name"] == "first"
    assert run["runtime_config"] == {
        "parameters": {"steps": 5},
        "pipeline_root": "minio://mlpipeline/v2",
    }


def test_the_same_file_is_uploaded_once_and_another_as_a_new_version(submit, api, package):
    submit()
    assert len(api.pipelines) == 1
    before = set(api.versions)
    submit()
    assert set(api.versions) == before
    changed = {**SPEC, "sdkVersion": "other"}
    package.write_text(yaml.safe_dump_all([changed]))
    assert submit()[0] == 0
    assert len(api.pipelines) == 1
    (new,) = set(api.versions) - before
    *_, run = api.runs.values()
    assert run["pipeline_version_reference"]["pipeline_version_id"] == new
    assert len(api.experiments) == 1


def test_a_run_that_the_gate_refuses(submit, api):
    api.logs["Pusher"] = format_verdict(None, "the gate refused it: nmse 0.5, at most 0.04")
    status, out, _ = submit()
    assert status == 3
    assert out.splitlines()[-1] == "not released: the gate refused it: nmse 0.5, at most 0.04"


def test_a_run_that_fails_shows_the_end_of_the_log(submit, api):
    api.states = [{"Transform": "SUCCEEDED", "Trainer-vqvae": "FAILED"}]
    api.logs["Trainer-vqvae"] = "\n".join([*(f"line {n}" for n in range(100)), "error: no GPU"])
    status, out, err = submit()
    assert status == 1
    assert "error: no GPU" in out
    assert "line 99" in out
    assert "line 5\n" not in out
    assert "ended as failed: Trainer-vqvae; see it in Kubeflow's page, or with: kfp" in err


def test_a_run_that_fails_after_its_release_says_both(submit, api):
    api.states = [{"Pusher": "SUCCEEDED", "Report": "FAILED"}]
    api.logs["Report"] = "error: no memory"
    status, out, err = submit()
    assert status == 1
    assert "error: no memory" in out
    assert "ended as failed: Report; it had released version 7, which stays; see it" in err


def test_a_verdict_that_cannot_be_had_is_no_success(submit, api):
    api.logs["Pusher"] = "noise"
    status, _, err = submit()
    assert status == 1
    assert "what came of it is not known" in err
    assert "its log does not end with it" in err


@pytest.mark.parametrize("hiccups", [[503, 502, 503], [429], [0, 0]])
def test_errors_that_pass_are_waited_out(submit, api, hiccups):
    api.hiccups = hiccups
    assert submit()[0] == 0
    assert api.hiccups == []


def test_the_log_is_that_of_the_last_try(submit, api):
    api.states = [{"Trainer-vqvae": "FAILED"}]
    api.tries = {"Trainer-vqvae": 3}
    api.logs = {"Trainer-vqvae": "error: the third", "Trainer-vqvae before": "error: the first"}
    status, out, _ = submit()
    assert status == 1
    assert "error: the third" in out
    assert "error: the first" not in out


def test_what_only_the_cluster_knows_of_a_task_is_told(submit, api):
    api.states = [{"Trainer-vqvae": "FAILED"}]
    api.messages = {"Trainer-vqvae": "OOMKilled (exit code 137)"}
    _, out, _ = submit()
    assert "Trainer-vqvae failed; the end of its log:\nOOMKilled (exit code 137)\n" in out


def test_a_task_that_never_began_is_told_by_its_driver(submit, api):
    api.states = [{"Transform": "SUCCEEDED", "Trainer-vqvae": "RUNNING"}]
    api.driver_fails = "Trainer-vqvae"
    api.logs = {"Trainer-vqvae-driver": "error: no such secret"}
    status, out, _ = submit()
    assert status == 1
    assert "Trainer-vqvae-driver failed" in out
    assert "error: no such secret" in out


def test_a_log_that_is_gone_hides_nothing_else(submit, api):
    api.states = [{"Trainer-vqvae": "FAILED"}]
    api.pods_are_gone = True
    status, out, err = submit()
    assert status == 1
    assert "Trainer-vqvae failed" in out
    assert "its log cannot be had: " in out
    assert "ended as failed: Trainer-vqvae" in err


def test_a_cancelled_run(submit, api):
    api.states = [{"Transform": "CANCELED"}]
    status, _, err = submit()
    assert status == 1
    assert "ended as canceled" in err


def test_through_the_page_of_kubeflow(submit, api):
    api.through_page = api.multi_user = True
    api.cookies = "authservice_session=" + TOKEN
    status, _, err = submit("--namespace=mine")
    assert status == 1
    assert "answers with a web page, not as the API; either --host lacks its path" in err
    status, _, err = submit("--namespace=mine", host=api.address + "/pipeline")
    assert (status, "401" in err) == (1, True)
    api.sign_in_page = True
    status, _, err = submit("--namespace=mine", host=api.address + "/pipeline")
    assert status == 1
    assert "sends elsewhere (302), as sign-in pages do: give --token-file or --cookies-file" in err


def test_cookies_of_a_session(submit, api, tmp_path):
    api.through_page = api.multi_user = api.sign_in_page = True
    api.cookies = "authservice_session=" + TOKEN
    (tmp_path / "cookies").write_text(api.cookies + "\n")
    status, out, _ = submit(
        "--namespace=mine", f"--cookies-file={tmp_path}/cookies", host=api.address + "/pipeline"
    )
    assert status == 0
    assert out.splitlines()[-1] == "released version 7"


def test_errors_that_stay_are_told(submit, api):
    api.hiccups = [503] * 50
    status, _, err = submit()
    assert status == 1
    assert "upstream connect error (503)" in err
    assert len(err.splitlines()) == 1


def test_without_waiting(submit, api):
    status, out, _ = submit("--no-wait")
    assert status == 0
    assert out.startswith("run run-")
    assert not any(call.startswith("GET /apis/v2beta1/runs/") for call in api.calls)


def test_no_longer_than_asked_for(submit, api):
    api.states = [{"Transform": "RUNNING"}] * 10_000
    status, _, err = submit("--timeout=0.05")
    assert status == 1
    assert "has not ended within 0.05 seconds; it goes on" in err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--param=stepz=5", "--param stepz: unknown; the pipeline has data, nmse, steps"),
        ("--param=steps=many", "--param steps=many: must be of type integer"),
        ("--param=steps", "must look like name=value"),
    ],
)
def test_parameters_are_checked_before_anything_is_uploaded(submit, api, option, message):
    status, _, err = submit(option)
    assert status == 2
    assert message in err
    assert api.calls == []


def test_without_a_pipeline_root(submit, api):
    status, _, err = submit(root=None)
    assert status == 2
    assert "where do the artifacts go? Give --pipeline-root" in err


def test_the_pipeline_root_may_be_in_the_file(submit, api, package):
    package.write_text(yaml.safe_dump_all([{**SPEC, "defaultPipelineRoot": "s3://a/b"}]))
    assert submit(root=None)[0] == 0
    (run,) = api.runs.values()
    assert run["runtime_config"]["pipeline_root"] == "s3://a/b"


def test_a_file_that_is_no_pipeline(submit, package):
    package.write_text("hello: world")
    status, _, err = submit()
    assert status == 2
    assert "not a compiled pipeline; make one with `vqvae compile" in err


def test_signing_in(submit, api, tmp_path, monkeypatch):
    api.token = TOKEN
    status, _, err = submit()
    assert status == 1
    assert "not signed in (401)" in err
    assert "--token-file" in err
    assert len(err.splitlines()) == 1
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert submit(f"--token-file={tmp_path}/token")[0] == 0
    (tmp_path / "token").write_text(TOKEN + "-old")
    status, _, err = submit(f"--token-file={tmp_path}/token")
    assert (status, "401" in err) == (1, True)
    monkeypatch.setenv("KF_PIPELINES_TOKEN", TOKEN)
    assert submit()[0] == 0


def test_in_a_pod_its_service_account_signs_in(submit, api, tmp_path, monkeypatch):
    api.token = TOKEN
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert submit()[0] == 0


@pytest.mark.parametrize("text", [TOKEN + "\nsecond line", "", "t\u00f6ken"])
def test_a_credential_that_cannot_be_a_header(submit, api, tmp_path, text):
    (tmp_path / "token").write_text(text)
    status, _, err = submit(f"--token-file={tmp_path}/token")
    assert status == 2
    assert (
        err == f"error: {tmp_path}/token: must hold one line of text, as it follows in the header\n"
    )
    assert api.calls == []


def test_a_multi_user_installation_wants_a_namespace(submit, api):
    api.multi_user = True
    status, _, err = submit()
    assert status == 2
    assert "a multi-user installation; give --namespace, that of your profile" in err
    assert api.runs == {}


def test_a_namespace_of_somebody_else(submit, api):
    api.multi_user = True
    api.forbidden = {"theirs"}
    status, _, err = submit("--namespace=theirs")
    assert status == 1
    assert "not allowed (403)" in err
    assert "access to the namespace theirs" in err
    assert submit("--namespace=mine")[0] == 0
    assert [each["namespace"] for each in api.experiments.values()] == ["mine"]


def test_nobody_there(submit):
    status, _, err = submit(host="http://127.0.0.1:9")
    assert status == 1
    assert "http://127.0.0.1:9 cannot be reached" in err
    assert "kubectl port-forward" in err
