"""Writers of a release store in an object store, stopped at every request while others write.

Whatever the turns, the store must end as if the writers had decided one after the other, in some
order, and at every stop what `models.config` names must be whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence

import pytest

from components.release_store import rollout
from components.release_store import store as release_store
from components.release_store.release import StoreError
from components.release_store.rollout import Served
from tests.fixtures import turns
from tests.fixtures.release_checks import make_candidate
from tests.fixtures.served_versions import models_in, versions_and_labels

STORE = f"s3://{turns.BUCKET}/store"
WRITERS = ("push", "canary", "promote", "rollback", "prune")
State = tuple[Served, frozenset[int]]  # what is served, which releases there are


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    return make_candidate(tmp_path_factory.mktemp("candidate") / "models", size=50)


@pytest.fixture(scope="module")
def start(candidate):
    """The contents of a store with releases 1, 2 and 3; 3 is stable, 2 beside it, 1 to prune."""
    with turns.s3_in_process():
        for push in "abc":
            release_store.publish(STORE, candidate, {}, push)
        yield turns.objects()


@pytest.fixture
def write(candidate) -> Callable[[str, str], bool]:
    """Has one of `WRITERS` write, under a name of its own; whether it succeeded."""
    kinds = {
        "push": lambda name: release_store.publish(STORE, candidate, {}, name),
        "push canary": lambda name: release_store.publish(STORE, candidate, {}, name, "canary"),
        "canary": lambda name: release_store.set_canary(STORE, 1),
        "promote": lambda name: release_store.promote(STORE, 2),
        "rollback": lambda name: release_store.promote(STORE, 1),
        "prune": lambda name: release_store.prune(STORE, 1),
    }

    def write(kind: str, name: str) -> bool:
        try:
            kinds[kind](name)
        except StoreError:
            return False
        return True

    return write


def after(state: State, kind: str, version: int | None) -> State | None:
    """What a writer makes of a store that it has for itself; None where it fails."""
    served, there = state
    if kind in ("canary", "rollback") and 1 not in there:
        return None
    try:
        if kind in ("push", "push canary"):
            label = "canary" if kind == "push canary" else "stable"
            return rollout.released(served, version, label), there | {version}
        if kind == "canary":
            return rollout.canary_set(served, 1, STORE), there
    except StoreError:
        return None
    if kind == "prune":
        return served, there - (set(sorted(there)[:-1]) - set(served.versions))
    return rollout.promoted(served, {"promote": 2, "rollback": 1}[kind]), there


def in_turn(
    state: State, kinds: Sequence[str], versions: dict[int, int], order: Iterable[int]
) -> tuple[State, dict[int, bool]]:
    """The end, and who succeeded, where writers come one after the other."""
    succeeded = {}
    for writer in order:
        next_state = after(state, kinds[writer], versions.get(writer))
        succeeded[writer] = next_state is not None
        state = next_state or state
    return state, succeeded


def served() -> Served:
    """What servers are told to load, as one of them would read it."""
    text = turns.objects()["store/models.config"].decode()
    loaded, labels = versions_and_labels(models_in(text)["encode"])
    return Served(labels["stable"], labels.get("canary"), tuple(loaded))


def check_whole() -> None:
    """What is named is there, byte for byte as its manifest says."""
    there = turns.objects()
    for version in served().versions:
        manifest = json.loads(there[f"store/releases/{version}.json"])
        assert len(manifest["files"]) > 12
        for name, digest in manifest["files"].items():
            model, _, file = name.partition("/")
            data = there.get(f"store/{model}/{version}/{file}")
            assert data is not None, f"{name} of release {version} is missing"
            assert hashlib.sha256(data).hexdigest() == digest


def check_end(kinds: Sequence[str], succeeded: dict[int, bool], killed: Iterable[int] = ()) -> None:
    """The store is as after these writers in some order; a killed one may have decided or not."""
    check_whole()
    there = turns.objects()
    latest = json.loads(there["store/releases/latest.json"])
    assert latest["version"] == served().stable
    versions = {}
    for writer, kind in enumerate(kinds):
        if note := there.get(f"store/.store/pushes/{writer}.json"):
            assert kind.startswith("push")
            versions[writer] = json.loads(note)["version"]
    decided = frozenset(release_store.versions(STORE))
    start = Served(3, versions=(2,)), frozenset({1, 2, 3})
    ends = []
    for missing in itertools.chain.from_iterable(
        itertools.combinations(killed, n) for n in range(len([*killed]) + 1)
    ):
        present = [writer for writer in range(len(kinds)) if writer not in missing]
        if any(kinds[each].startswith("push") and each not in versions for each in present):
            continue  # killed before it had a version
        unreleased = {versions[each] for each in missing if each in versions}
        for order in itertools.permutations(present):
            (end, made), ok = in_turn(start, kinds, versions, order)
            if all(ok[writer] == done for writer, done in succeeded.items()):
                ends.append((end, made))
                if (served(), decided - unreleased) == ends[-1]:
                    return
    raise AssertionError(f"{kinds}, {succeeded}: {served()}, {decided} is none of {ends}")


def stops(start, write, kind: str) -> tuple[list[int], list[int]]:
    """Before which requests a writer is to be stopped: all; those that change the store.

    Left out are those between two files of one model: only this writer knows that folder.
    """
    turns.lay(start)
    turn = turns.Turn()
    turn(lambda: write(kind, "0"))
    folders = [
        (method, re.sub(r"(/(encode|decode|sample|evaluate)/\d+/).*", r"\1", path))
        for method, path in turn.requests
    ]
    apart = [
        number
        for number, folder in enumerate(folders)
        if number == 0 or not (folder[1].endswith("/") and folder == folders[number - 1])
    ]
    return apart, [number for number in apart if folders[number][0] in ("PUT", "POST", "DELETE")]


def interleave(start, write, kinds: Sequence[str], places: Sequence[int]) -> None:
    """Each writer stopped before a request of its own, while the next one comes; then all go on."""
    turns.lay(start)
    succeeded = {}

    def run(writer: int) -> None:
        def meanwhile() -> None:
            check_whole()
            run(writer + 1)
            check_whole()

        stop = places[writer] if writer < len(places) else -1
        turn = turns.Turn(stop, meanwhile)
        succeeded[writer] = turn(lambda: write(kinds[writer], str(writer)))
        if writer + 1 < len(kinds) and writer + 1 not in succeeded:
            run(writer + 1)  # it failed before it came to its stop

    run(0)
    assert len(succeeded) == len(kinds)
    check_end(kinds, succeeded)


@pytest.mark.parametrize(
    ("first", "others"), [("promote", WRITERS), ("prune", ("canary", "rollback"))]
)
def test_a_writer_stopped_before_each_of_its_writes(start, write, first, others):
    for stop, second in itertools.product(stops(start, write, first)[1], others):
        interleave(start, write, (first, second), [stop])


def test_a_push_stopped_before_its_last_writes(start, write):
    for stop, second in itertools.product(stops(start, write, "push")[1][-2:], ("push", "prune")):
        interleave(start, write, ("push", second), [stop])


@pytest.mark.slow
@pytest.mark.parametrize("first", WRITERS)
def test_a_writer_stopped_before_every_request(start, write, first):
    """Before a write each of the others comes, before a read one of them in turn."""
    every, changing = stops(start, write, first)
    for stop in every:
        others = WRITERS if stop in changing else [WRITERS[stop % len(WRITERS)]]
        for second in others:
            interleave(start, write, (first, second), [stop])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [
        ("promote", "prune", "canary"),
        ("prune", "rollback", "push"),
        ("push", "rollback", "prune"),
        ("push canary", "push", "rollback"),
    ],
)
def test_two_writers_stopped_while_a_third_comes(start, write, kinds):
    """Before their decisive writes: of a push the last three, of others the first four."""
    places = [stops(start, write, kind)[1] for kind in kinds[:2]]
    places = [
        place[-3:] if kind.startswith("push") else place[:4]
        for kind, place in zip(kinds, places, strict=False)
    ]
    for both in itertools.product(*places):
        interleave(start, write, kinds, both)


@pytest.mark.slow
@pytest.mark.parametrize("first", WRITERS)
def test_a_writer_killed_while_another_writes(start, write, first):
    for stop in stops(start, write, first)[1]:
        turns.lay(start)
        succeeded = {}

        def meanwhile(succeeded: dict[int, bool] = succeeded) -> None:
            succeeded[1] = write("rollback", "1")
            raise turns.Killed

        with pytest.raises(turns.Killed):
            turns.Turn(stop, meanwhile)(lambda: write(first, "0"))
        check_whole()
        succeeded[2] = write("promote", "2")
        check_end((first, "rollback", "promote"), succeeded, killed=[0])
