"""`vqvae schedule` through the real client: one schedule a name, however often applied."""

from __future__ import annotations

import sys

import pytest
import yaml

from pipeline.commands import cli
from tests.fixtures.fake_kfp_api import FakeApi
from tests.fixtures.fake_kfp_server import serving
from tests.kubeflow.api.test_submit import SPEC

NIGHTLY = "--cron=0 0 3 * * *"


@pytest.fixture
def api():
    with serving(FakeApi()) as server:
        yield server


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([{**SPEC, "defaultPipelineRoot": "s3://a/b"}]))
    return path


@pytest.fixture
def schedule(api, monkeypatch, capsys):
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)

    def run(command, *options):
        arguments = ["schedule", command, f"--host={api.address}", *map(str, options)]
        monkeypatch.setattr(sys, "argv", ["vqvae", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_applied_twice_there_is_one(schedule, api, package):
    status, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY)
    assert status == 0
    assert "schedule nightly created" in out
    (made,) = api.recurring_runs.values()
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert (made["max_concurrency"], made["no_catchup"]) == (1, True)
    assert made["runtime_config"]["pipeline_root"] == "s3://a/b"
    status, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY)
    assert (status, "schedule nightly unchanged" in out) == (0, True)
    assert list(api.recurring_runs.values()) == [made]


def test_the_next_five_times_are_told_in_the_time_zone(schedule, package):
    _, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY, "--time-zone=Asia/Tokyo")
    times = out[out.index("fires next (Asia/Tokyo):") :].splitlines()[1:]
    assert len(times) == 5
    assert all(line.endswith("03:00:00 JST") for line in times)


def test_a_changed_one_is_created_before_the_old_one_goes(schedule, api, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    (before,) = api.recurring_runs
    api.calls.clear()
    _, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY, "--param=steps=99")
    assert "created, 1 older removed" in out
    (after,) = api.recurring_runs.values()
    assert after["recurring_run_id"] != before
    assert after["runtime_config"]["parameters"] == {"steps": 99}
    changes = [
        call.split()[0] for call in api.calls if "recurringruns" in call and "GET" not in call
    ]
    assert changes == ["POST", "DELETE"]


def test_a_new_version_of_the_pipeline_is_a_new_schedule(schedule, api, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    (before,) = api.recurring_runs.values()
    package.write_text(
        yaml.safe_dump_all([{**SPEC, "defaultPipelineRoot": "s3://a/b", "sdkVersion": "2"}])
    )
    schedule("apply", package, "--name=nightly", NIGHTLY)
    (after,) = api.recurring_runs.values()
    assert after["pipeline_version_reference"] != before["pipeline_version_reference"]


def test_others_of_the_same_name_are_left_alone(schedule, api, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    (own,) = api.recurring_runs.values()
    for number in range(5):  # several pages
        api.recurring_runs[f"foreign-{number}"] = {
            **own, "recurring_run_id": f"foreign-{number}", "description": "made by hand",
        }  # fmt: skip
    _, out, err = schedule("apply", package, "--name=nightly", "--cron=0 30 4 * * *")
    assert "created, 1 older removed" in out
    assert len(api.recurring_runs) == 6
    assert err.count("was not made by vqvae") == 5


def test_list_pause_resume_delete(schedule, api, package):
    assert schedule("list")[1] == "there are no schedules\n"
    schedule("apply", package, "--name=nightly", NIGHTLY)
    schedule("apply", package, "--name=weekly", "--cron=0 0 4 * * sun")
    heading, nightly, weekly = schedule("list")[1].splitlines()
    assert heading.split()[:3] == ["name", "cron", "state"]
    assert "enabled" in nightly
    assert "Sun" in weekly
    assert schedule("pause", "nightly")[1] == "schedule nightly paused\n"
    assert "paused" in schedule("list")[1].splitlines()[1]
    assert schedule("resume", "nightly")[0] == 0
    assert "paused" not in schedule("list")[1]
    assert schedule("delete", "nightly")[0] == 0
    assert [each["display_name"] for each in api.recurring_runs.values()] == ["weekly"]


def test_an_unknown_name_is_answered_with_those_there_are(schedule, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    status, _, err = schedule("pause", "nightley")
    assert status == 1
    assert "no schedule 'nightley'; there are: nightly" in err


def test_five_fields_are_refused_before_anything_is_uploaded(schedule, api, package):
    status, _, err = schedule("apply", package, "--name=nightly", "--cron=0 3 * * *")
    assert status == 2
    assert "write '0 0 3 * * *'" in err
    assert api.calls == []


def test_a_pause_outlives_applying(schedule, api, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    schedule("pause", "nightly")
    _, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY)
    assert "unchanged, paused as before (vqvae schedule resume nightly)" in out
    assert "would fire next (UTC):" in out
    _, out, _ = schedule("apply", package, "--name=nightly", "--cron=0 0 4 * * *")
    assert "created, paused as before" in out
    (made,) = api.recurring_runs.values()
    assert (made["status"], made["mode"]) == ("DISABLED", "DISABLE")


def test_several_left_by_a_lost_answer_become_one(schedule, api, package):
    schedule("apply", package, "--name=nightly", NIGHTLY)
    (own,) = api.recurring_runs.values()
    api.recurring_runs["twin"] = {**own, "recurring_run_id": "twin"}
    _, out, _ = schedule("apply", package, "--name=nightly", NIGHTLY)
    assert "unchanged, 1 older removed" in out
    assert len(api.recurring_runs) == 1


def test_schedules_of_a_namespace(schedule, api, package):
    api.multi_user = True
    assert schedule("apply", package, "--name=nightly", NIGHTLY, "--namespace=mine")[0] == 0
    assert "nightly" in schedule("list", "--namespace=mine")[1]
    assert schedule("list", "--namespace=theirs")[1] == "there are no schedules\n"
    api.forbidden = {"mine"}
    status, _, err = schedule("delete", "nightly", "--namespace=mine")
    assert (status, "not allowed (403)" in err) == (1, True)
    assert len(api.recurring_runs) == 1


def test_not_signed_in(schedule, api, package):
    api.token = "secret"
    for command in (("apply", package, "--name=nightly", NIGHTLY), ("list",), ("pause", "nightly")):
        status, _, err = schedule(*command)
        assert (status, "not signed in (401)" in err) == (1, True)
    assert api.recurring_runs == {}
