"""What is decided in a release store of an object store: its `models.config`.

    # decision 6f1c…; pushed 1-7; removed 1-4
    model_config_list { … }

This one object says what servers load and, in its first line, which pushes have had their effect
and which versions are given up for good. It is replaced only by who has read it as it is, so
decisions come one after the other, and each is made knowing all before it: a release that is
given up is named by no later one, and a push takes effect once. The id makes every decision's
text its own, as ETags need it (`components.object_store.conditional_writes`).

`releases/latest.json` repeats the stable version and the decision's id for other readers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable

from components.object_store.folder import Folder
from components.release_store import models_config
from components.release_store.release import SERVED, StoreError, to_json
from components.release_store.rollout import Served

_CONFIG, _LATEST = "models.config", "releases/latest.json"
_FIRST_LINE = re.compile(r"# decision (\w+); pushed ([-\d ]*); removed ([-\d ]*)\n")
_TRIES = 20
_LONGEST_WAIT = 1.0  # seconds before another try


@dataclasses.dataclass(frozen=True)
class Decision:
    """What holds in a store.

    Attributes:
        served: what servers load; None before the first release.
        pushed: versions that a push or a person has had served, whatever became of them.
        removed: versions that nothing may name again. Their files are removed after this.
    """

    served: Served | None = None
    pushed: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()


def read(folder: Folder) -> Decision:
    """The decision that holds.

    Raises:
        StoreError: `models.config` names no release.
    """
    found = folder.read_stamped(_CONFIG)
    return _parse(folder, found.data.decode()) if found else Decision()


def decide(folder: Folder, change: Callable[[Decision], Decision], mends: bool = False) -> Decision:
    """Makes a decision, which follows the one that holds when it is made.

    Args:
        folder: the store.
        change: the decision after another; called again where a writer was faster. An error that
            it raises is the outcome.
        mends: whether a `models.config` that names no release is taken for one that serves none.

    Returns:
        the decision that holds now.

    Raises:
        StoreError: other writers were faster every time; nothing was changed.
    """
    text = None
    for attempt in range(_TRIES):
        found = folder.read_stamped(_CONFIG)
        if found and text is not None and found.data == text.encode():
            break  # a write whose answer was lost
        before = _parse(folder, found.data.decode(), mends) if found else Decision()
        after = change(before)
        if after == before:
            break
        text = _render(folder, after)
        if folder.replace(_CONFIG, text.encode(), found.stamp if found else None):
            break
        _wait(attempt)
    else:
        raise StoreError(
            f"{folder.uri}/{_CONFIG}: other writers replaced it {_TRIES} times meanwhile; nothing "
            "was changed by this one; run it again"
        )
    if after.served is not None:
        repeat(folder)
    return after


def repeat(folder: Folder) -> None:
    """Brings `latest.json` to agree, by whoever is here: who decided may have been killed.

    Args:
        folder: a store that serves a release.
    """
    for attempt in range(_TRIES):
        # Read before the decision: another writer's newer one would have changed it.
        found = folder.read_stamped(_LATEST)
        config = (folder.read(_CONFIG) or b"").decode()
        served = models_config.parse(config, f"{folder.uri}/{_CONFIG}")
        latest: dict[str, int | str] = {"version": served.stable}
        if first := _FIRST_LINE.match(config):
            latest["decision"] = first[1]
        data = to_json(latest).encode()
        if found and found.data == data:
            return
        if folder.replace(_LATEST, data, found.stamp if found else None):
            return
        # Others wrote it meanwhile, all but the first of them knowing this decision.
        _wait(attempt)


def _render(folder: Folder, decision: Decision) -> str:
    assert decision.served is not None  # nobody decides that nothing is served
    pushed, removed = _ranges(decision.pushed), _ranges(decision.removed)
    first = f"# decision {uuid.uuid4().hex}; pushed {pushed}; removed {removed}\n"
    return first + models_config.render(folder.uri, SERVED, decision.served)


def _parse(folder: Folder, text: str, mends: bool = False) -> Decision:
    served = None
    with contextlib.suppress(*([StoreError] if mends else [])):
        served = models_config.parse(text, f"{folder.uri}/{_CONFIG}")
    # Of a store that an older version wrote there is no such line.
    first = _FIRST_LINE.match(text)
    pushed, removed = (first[2], first[3]) if first else ("", "")
    return Decision(served, frozenset(_versions(pushed)), frozenset(_versions(removed)))


def _ranges(versions: Iterable[int]) -> str:
    """`1-4 7` for 1, 2, 3, 4 and 7."""
    ranges: list[list[int]] = []
    for version in sorted(versions):
        if ranges and version == ranges[-1][-1] + 1:
            ranges[-1][1:] = [version]
        else:
            ranges.append([version])
    return " ".join("-".join(map(str, each)) for each in ranges)


def _versions(ranges: str) -> Iterable[int]:
    for each in ranges.split():
        first, _, last = each.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _wait(attempt: int) -> None:
    time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt)))
