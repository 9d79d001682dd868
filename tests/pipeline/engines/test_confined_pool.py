"""`vqvae beam-worker` as its container runs: of a user without a name, on a read-only disk."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.config.config import load
from pipeline.engines.arguments import beam_arguments
from pipeline.engines.submission import submitted
from tests import ROOT
from tests.fixtures.waiting import wait_until
from tests.fixtures.worker_pools import Pool, can_mount, confined, job_service, pool

pytestmark = [
    pytest.mark.flink,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as another user"),
    pytest.mark.skipif(not can_mount(), reason="no process may have mounts of its own here"),
]

USER = 54321  # in no list of users


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    # Not below pytest's folders, which are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="scratch-"))
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running(scratch, tmp_path_factory) -> Iterator[Pool]:
    within = confined(scratch, USER)
    with pool(tmp_path_factory.mktemp("pool"), f"--scratch={scratch}", within=within) as found:
        yield found


def look(place: str) -> dict[str, object]:
    """What a worker is and may do."""
    with tempfile.NamedTemporaryFile() as file:  # as Beam and TensorFlow write one
        temporary = file.name
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return {
        "user": (os.getuid(), os.getgid(), os.getgroups()),
        "name": name,
        "home": os.environ.get("HOME"),
        "temporary": temporary,
        "may write": os.access(place, os.W_OK),
    }


def test_a_job_runs_and_only_scratch_can_be_written(running, scratch, tmp_path_factory):
    import numpy

    places = [str(ROOT), str(Path(numpy.__path__[0]).parent), "/tmp", "/var/tmp", str(scratch)]
    with job_service(tmp_path_factory.mktemp("service"), running.address) as endpoint:
        setting = f"beam={{runner: portable, portable: {{job_endpoint: '{endpoint}'}}}}"
        arguments = beam_arguments(load("digits", (setting,)).beam)
        out = scratch / "out"
        with (
            submitted(arguments, "Look") as own,
            beam.Pipeline(options=PipelineOptions(own)) as pipeline,
        ):
            _ = (
                pipeline
                | beam.Create(places)
                | beam.Map(lambda place: (place, look(place)))
                | beam.io.WriteToText(str(out), shard_name_template="")
            )
    found = dict(eval(line) for line in out.read_text().splitlines())
    assert [place for place in places if found[place]["may write"]] == [str(scratch)]
    for each in found.values():
        assert each["user"] == (USER, USER, [])
        assert each["name"] == ""
        assert Path(each["home"]).parent == Path(each["temporary"]).parent == scratch
    wait_until(lambda: running.bundles("vqvae-look-") > 0)
    assert out.stat().st_uid == USER


def test_it_has_said_nothing_but_what_its_workers_did(running):
    wait_until(lambda: not running.workers())
    assert "Traceback" not in running.said(), running.said()
    assert running.warnings() == []
