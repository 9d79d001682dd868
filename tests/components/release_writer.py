"""Publishes from a process of its own, so that a test can kill it at any instant.

python release_writer.py loop STORE CANDIDATES PUSHES     PUSHES releases, one by one
python release_writer.py die STORE CANDIDATES STEP        killed before its STEP-th access
python release_writer.py die-as-canary STORE CANDIDATES STEP    to the file system; likewise,
python release_writer.py die-promote STORE VERSION STEP   and so in
python release_writer.py die-canary STORE VERSION STEP    what follows
python release_writer.py die-prune STORE KEEP STEP
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from components import release_store

_ACCESSES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "fcntl.flock"}


def candidates_in(folder: str) -> dict[str, Path]:
    return {model: Path(folder, model) for model in release_store.MODELS}


def _die_before(step: int) -> None:
    left = step

    def count(event: str, _: tuple) -> None:
        nonlocal left
        if event in _ACCESSES:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def start(*arguments: object) -> int:
    """Does it in a fork of this process, which costs no new interpreter; returns its id."""
    process = os.fork()
    if process == 0:
        try:
            main(*map(str, arguments))
        except BaseException:
            os._exit(1)
        os._exit(0)
    return process


def main(action: str, store: str, what: str, number: str) -> None:
    if action == "loop":
        for push in range(int(number)):
            push_id = f"{os.getpid()}-{push}"
            print(release_store.publish(store, candidates_in(what), {}, push_id).version)
            sys.stdout.flush()
        return
    import datetime  # noqa: F401  what is imported late would count as an access

    _die_before(int(number))
    if action == "die":
        release_store.publish(store, candidates_in(what), {}, "killed")
    elif action == "die-as-canary":
        picture = Path(what, "samples.png")
        release_store.publish(store, candidates_in(what), {}, "killed", "canary", picture)
    elif action == "die-prune":
        release_store.prune(store, int(what))
    elif action == "die-canary":
        release_store.set_canary(store, int(what))
    else:
        release_store.promote(store, int(what))


if __name__ == "__main__":
    main(*sys.argv[1:])
