"""Publishes from a process of its own, so that a test can kill it at any instant.

python release_writer.py STORE CANDIDATES PUSHES     PUSHES releases, one by one
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from components import release_store


def main(store: str, folder: str, pushes: str) -> None:
    candidates = {model: Path(folder, model) for model in release_store.MODELS}
    for push in range(int(pushes)):
        push_id = f"{os.getpid()}-{push}"
        print(release_store.publish(store, candidates, {}, push_id).version)
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
