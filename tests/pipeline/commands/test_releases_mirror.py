"""`vqvae releases mirror` as its users meet it: a process beside a server, and an S3 bucket."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from components.release_store import store as release_store
from pipeline.commands.releases import releases as releases_group
from tests.fixtures.mirror_reader import MirrorReader
from tests.fixtures.release_checks import make_candidate
from tests.fixtures.watching import Watch

METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture
def uri(s3_uri):
    return s3_uri


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


def command(uri, folder, *options):
    own = [sys.executable, "-m", "pipeline", "releases", "mirror", "--store", uri, "--to", folder]
    return [*map(str, own), *options]


def once(uri, folder, *options, **settings):
    return subprocess.run(
        command(uri, folder, *options), capture_output=True, text=True, **settings
    )


class Following:
    """The command with `--follow`, looking all the time."""

    def __init__(self, uri, folder, *options, **settings):
        options = ["--follow", "--port", "0", "--poll", "0.3", *options]
        self.process = subprocess.Popen(
            command(uri, folder, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **settings,
        )
        self.url = self.process.stdout.readline().split()[1].removesuffix("/healthz")

    def health(self):
        """Status, and what it says."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def until(self, wanted):
        """What health says once `wanted` of it is true; the test's own end is the only limit."""
        while not wanted(found := self.health()[1]):
            assert self.process.poll() is None
            time.sleep(0.1)
        return found

    def metrics(self):
        with urllib.request.urlopen(self.url + METRICS) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def test_a_server_finds_whole_releases_whatever_is_released(uri, candidate, folder):
    with Following(uri, folder) as mirror:
        status, health = mirror.health()
        assert (status, health["stable"]) == (503, None)
        with Watch(MirrorReader(uri, folder).look) as watch:
            changes = (
                lambda: release_store.publish(uri, candidate, {}, "1"),
                lambda: release_store.publish(uri, candidate, {}, "2"),
                lambda: release_store.publish(uri, candidate, {}, "3", "canary"),
                lambda: release_store.promote(uri, 3),
                lambda: release_store.promote(uri, 1),
            )
            for change in changes:
                change()
                wanted = list(release_store.served(uri).versions)
                health = mirror.until(lambda found, wanted=wanted: found["versions"] == wanted)
        assert watch.seen == [
            None,
            ({1}, {"stable": 1}),
            ({1, 2}, {"stable": 2}),
            ({1, 2, 3}, {"stable": 2, "canary": 3}),
            ({2, 3}, {"stable": 3}),
            ({1}, {"stable": 1}),
        ]
        assert mirror.health() == (200, {**health, "agreed_seconds_ago": pytest.approx(0, abs=99)})
        assert health["store"] == uri
        assert (health["stable"], health["canary"], health["error"]) == (1, None, None)
        metrics = mirror.metrics()
        assert metrics['vqvae_mirrored_version{version="1"}'] == "1.0"
        assert 'vqvae_mirrored_version{version="3"}' not in metrics
        assert float(metrics['vqvae_mirror_looks_total{result="ok"}']) > 5
        assert metrics['vqvae_mirror_looks_total{result="failed"}'] == "0.0"
        mirror.process.send_signal(signal.SIGTERM)
        output, errors = mirror.process.communicate()
        assert mirror.process.returncode == 0
        assert output.splitlines() == [
            f"waiting for the first release of {uri}",
            "mirrored: release 1 (stable)",
            "mirrored: release 2 (stable), 1 (served)",
            "mirrored: release 3 (canary), 2 (stable), 1 (served)",
            "mirrored: release 3 (stable), 2 (served)",
            "mirrored: release 1 (stable)",
            "stopped",
        ]
        assert errors == ""


def test_a_store_that_does_not_answer_is_told_and_takes_nothing_away(uri, candidate, folder):
    from moto.server import ThreadedMotoServer

    release_store.publish(uri, candidate, {}, "1")
    # The same bucket by another door, which closes.
    door = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    door.start()
    port = door.get_host_and_port()[1]
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    with Following(uri, folder, "--unhealthy-after", "2", env=environment) as mirror:
        mirror.until(lambda found: found["healthy"])
        door.stop()
        health = mirror.until(lambda found: found["error"] and not found["healthy"])
        assert health["error"].startswith(f"object store: cannot read {uri}/models.config")
        assert health["stable"] == 1
        assert mirror.health()[0] == 503
        assert MirrorReader(uri, folder).look() == ({1}, {"stable": 1})
        release_store.publish(uri, candidate, {}, "2")
        door = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        door.start()
        try:
            health = mirror.until(lambda found: found["healthy"])
        finally:
            door.stop()
        assert (health["stable"], health["error"]) == (2, None)
        mirror.process.kill()
        assert "error: object store: cannot read" in mirror.process.stderr.read()


def test_once(uri, candidate, folder):
    result = once(uri, folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: nothing has been released to {uri} yet; `vqvae run` makes a release\n"
    )
    for push, label in enumerate(("stable", "stable", "canary")):
        release_store.publish(uri, candidate, {}, str(push), label)
    # The server is another user.
    result = once(uri, folder, "--server-path", "/models", umask=0o077)
    assert result.returncode == 0
    assert result.stdout == "mirrored: release 3 (canary), 2 (stable), 1 (served)\n"
    assert MirrorReader(uri, folder, "/models").look()[0] == {1, 2, 3}
    for path in [folder, *folder.rglob("*")]:
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_mistakes_are_one_line(uri, candidate, folder):
    release_store.publish(uri, candidate, {}, "1")
    options = ["--store", uri, "--to", str(folder), "--server-path", "models"]
    result = CliRunner().invoke(releases_group, ["mirror", *options])
    assert (result.exit_code, "must be absolute" in result.output) == (2, True)
    with Following(uri, folder) as mirror:
        result = once(uri, folder)
        assert result.returncode == 1
        assert result.stderr == (
            f"error: {folder}: another process mirrors to it; stop it, or wait for it\n"
        )
        assert mirror.health()[0] in (200, 503)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{mirror.url}/")
        port = mirror.url.rpartition(":")[2]
        result = once(uri, folder.with_name("other"), "--follow", "--port", port)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
        # Others on the network cannot ask, unless --host lets them.
        with socket.socket() as outside:
            outside.bind(("127.0.0.2", int(port)))


@pytest.mark.slow
def test_stopped_at_random_instants(uri, folder, tmp_path):
    """Files large enough that signals fall into copies, hashes and syncs, not only between."""
    candidate = make_candidate(tmp_path / "large", size=2_000_000)
    generator = random.Random(0)
    release_store.publish(uri, candidate, {}, "first")
    assert once(uri, folder).returncode == 0
    with Watch(MirrorReader(uri, folder).look) as watch:
        for push in range(6):
            release_store.publish(uri, candidate, {}, str(push))
            with Following(uri, folder, "--grace", "0.5") as mirror:
                time.sleep(generator.uniform(0.0, 1.0))
                told = signal.SIGTERM if push % 2 else signal.SIGKILL
                mirror.process.send_signal(told)
                _, errors = mirror.process.communicate()
                assert mirror.process.returncode == (0 if push % 2 else -signal.SIGKILL)
                assert errors == ""
        # Each began where the one before was stopped.
        with Following(uri, folder) as mirror:
            mirror.until(lambda found: found["stable"] == 7)
    assert watch.seen[-1] == ({6, 7}, {"stable": 7})
    assert list((folder / ".mirror/staging").iterdir()) == []
