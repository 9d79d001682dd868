"""Writers of the release store that are killed, or that come two at a time."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from components.release_store import folder as folder_store
from components.release_store.check import differences
from components.release_store.release import MODELS
from components.release_store.store import plan
from tests import ROOT
from tests.fixtures.killing import killed_at_every_step
from tests.fixtures.release_checks import (
    check_clean,
    check_pointers,
    make_candidate,
    make_picture,
    stable,
    visible,
)
from tests.fixtures.watching import Watch


@pytest.fixture
def store(tmp_path):
    return tmp_path / "serving"


def run_writer(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.release_writer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_publisher_killed_at_every_step(store, candidate, tmp_path):
    for push_id in "ab":
        folder_store.publish(store, candidate, {}, push_id)
    before = visible(store)
    outcomes = set()

    def check(copy):
        # models.config holds the path of the store it was written for.
        seen = visible(copy)
        assert {name: seen[name] for name in before if not _is_pointer(name)} == {
            name: data for name, data in before.items() if not _is_pointer(name)
        }
        named = check_pointers(copy)
        outcomes.add((stable(copy), folder_store.latest(copy).version))
        assert named in ({1, 2}, {2, 3})
        again = folder_store.publish(copy, candidate, {}, "killed")
        # Decided: the same release. Not decided: its version may be spent, so a later one.
        assert again.version == 3 if 3 in named else again.version in (3, 4)
        assert check_pointers(copy) == {2, again.version}
        check_clean(copy, [1, 2, again.version])

    steps = killed_at_every_step(
        tmp_path, store, lambda copy: folder_store.publish(copy, candidate, {}, "killed"), check
    )
    assert steps > 80
    assert outcomes == {(2, 2), (3, 2), (3, 3)}


@pytest.mark.slow
def test_publisher_of_a_canary_killed_at_every_step(store, candidate, tmp_path):
    """With a picture, too; the stable release is never touched."""
    picture = make_picture(tmp_path / "candidate")
    for push_id in "ab":
        folder_store.publish(store, candidate, {}, push_id)
    outcomes = set()

    def check(copy):
        assert (stable(copy), folder_store.latest(copy).version) == (2, 2)
        named = check_pointers(copy)
        outcomes.add(folder_store.served(copy).canary)
        again = folder_store.publish(copy, candidate, {}, "killed", "canary", picture)
        assert again.version == 3 if 3 in named else again.version in (3, 4)
        assert check_pointers(copy) == {1, 2, again.version}
        assert folder_store.served(copy).canary == again.version
        check_clean(copy, [1, 2, again.version])

    def act(copy):
        folder_store.publish(copy, candidate, {}, "killed", "canary", picture)

    killed_at_every_step(tmp_path, store, act, check)
    assert outcomes == {None, 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "version", "loaded"),
    [
        pytest.param({}, 1, {1}, id="back to the previous release"),
        pytest.param({"canary": 3}, 3, {2, 3}, id="forward to the canary"),
        pytest.param({"canary": 3}, 1, {1}, id="back while there is a canary"),
    ],
)
def test_promotion_killed_at_every_step(store, candidate, tmp_path, before, version, loaded):
    for label in ("stable", "stable", *before):
        folder_store.publish(store, candidate, {}, label=label)
    was, releases = folder_store.served(store), folder_store.versions(store)
    outcomes = set()

    def check(copy):
        named = check_pointers(copy)
        outcome = (stable(copy), folder_store.latest(copy).version)
        assert named in ({*was.versions}, {*loaded, 2}, loaded)
        now = folder_store.served(copy)
        assert now == was or set(now.versions) == loaded
        plan(copy, "")  # the next run finishes what was decided
        assert folder_store.served(copy) == now
        assert folder_store.latest(copy).version == now.stable
        check_clean(copy, releases)
        if outcome not in outcomes:  # once for each, as it takes longer than all else
            new = folder_store.publish(copy, candidate, {}, "c").version
            assert check_pointers(copy) == {now.stable, new}
        outcomes.add(outcome)

    killed_at_every_step(tmp_path, store, lambda copy: folder_store.promote(copy, version), check)
    assert outcomes == {(2, 2), (version, 2), (version, version)}


@pytest.mark.slow
def test_canary_killed_at_every_step(store, candidate, tmp_path):
    for push_id in "abc":
        folder_store.publish(store, candidate, {}, push_id)
    outcomes = set()

    def check(copy):
        check_pointers(copy)
        served = folder_store.served(copy)
        outcomes.add((served.canary, served.versions))
        assert served.stable == folder_store.latest(copy).version == 3
        assert folder_store.set_canary(copy, None).versions == (2, 3)
        check_clean(copy, [1, 2, 3])

    killed_at_every_step(tmp_path, store, lambda copy: folder_store.set_canary(copy, 1), check)
    assert outcomes == {(None, (2, 3)), (1, (1, 2, 3))}


@pytest.mark.slow
def test_prune_killed_at_every_step(store, candidate, tmp_path):
    picture = make_picture(tmp_path)
    for push_id in "abcde":
        folder_store.publish(store, candidate, {}, push_id, picture=picture)
    folder_store.promote(store, 2)
    folder_store.promote(store, 4)
    folder_store.set_canary(store, 3)
    seen = set()

    def check(copy):
        assert check_pointers(copy) == {2, 3, 4}
        left = folder_store.versions(copy)
        # What is still listed is whole.
        assert [differences(folder_store.get(copy, v)) for v in left] == [[]] * len(left)
        folder_store.prune(copy, 1)
        check_clean(copy, [2, 3, 4, 5])
        if tuple(left) not in seen:
            assert folder_store.publish(copy, candidate, {}, "f").version == 6
        seen.add(tuple(left))

    killed_at_every_step(tmp_path, store, lambda copy: folder_store.prune(copy, 1), check)
    assert seen == {(1, 2, 3, 4, 5), (2, 3, 4, 5)}


def _is_pointer(name: str) -> bool:
    return name in ("models.config", "releases/latest.json")


@pytest.mark.slow
def test_publishers_killed_at_random_instants(store, tmp_path):
    """Files large enough that kills fall into copies, hashes and syncs, not only between."""
    candidate = make_candidate(tmp_path / "large", size=1_500_000)
    generator = random.Random(0)
    folder_store.publish(store, candidate, {})
    seen, kills = [1], 0
    with Watch(lambda: check_pointers(store)) as reader:
        while kills < 24:
            writer = run_writer(store, tmp_path / "large", 100)
            assert int(writer.stdout.readline()) > seen[-1]  # it is past its start
            time.sleep(generator.uniform(0.0, 0.4))
            os.kill(writer.pid, signal.SIGKILL)
            seen += [int(line) for line in writer.stdout]
            assert writer.wait() == -signal.SIGKILL
            kills += 1
            seen.append(folder_store.publish(store, candidate, {}).version)
            assert max(check_pointers(store)) == stable(store) == seen[-1]
            # Room for the next ones: releases too old for the reader to be still at.
            for version in folder_store.versions(store)[:-20]:
                for kind in ("json", "md"):
                    (store / f"releases/{version}.{kind}").unlink()
                for model in MODELS:
                    shutil.rmtree(store / model / str(version))
            check_clean(store, folder_store.versions(store))
    assert seen == sorted(set(seen))
    assert reader.looks > 20


def test_two_publishers_at_once(store, candidate, tmp_path):
    folder_store.publish(store, candidate, {})
    with Watch(lambda: check_pointers(store)):
        writers = [run_writer(store, tmp_path / "candidate", 10) for _ in range(2)]
        outputs = [
            [int(line) for line in writer.communicate(timeout=600)[0].split()] for writer in writers
        ]
        assert [writer.returncode for writer in writers] == [0, 0]
    assert all(versions == sorted(versions) for versions in outputs)
    assert sorted(outputs[0] + outputs[1]) == list(range(2, 22))
    check_clean(store, list(range(1, 22)))
    assert check_pointers(store) == {20, 21}


def test_two_publishers_of_the_same_push(store, candidate, tmp_path):
    """Two attempts of one Pusher, the first not as dead as was thought."""
    results = []

    def push():
        results.append(folder_store.publish(store, candidate, {}, "same").version)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1, 1, 1, 1]
    check_clean(store, [1])
