"""Memory of the stages before and after training, for few and for many photographs.

    python -m benchmarks.data_memory

Photographs of 300×256 pixels become 256×256, with networks that are as small as they can be. Each
number of images has a process of its own, in which the components run one after the other. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import stages
from benchmarks.photos import Kind, write
from pipeline import component_ids as ids

COUNTS = (2_000, 20_000, 60_000)
_KIND = Kind(300, 256, "JPEG", 256)
_HELD_OUT = 20  # one in so many
_BEFORE = "in front of them"
_STAGES = (
    *(ids.EXAMPLE_GEN, ids.STATISTICS_GEN, ids.TRANSFORM, ids.TRAINERS["vqvae"]),
    *(ids.TOKENIZER, ids.TRAINERS["prior"], ids.EVALUATOR),
)


def measure(count: int) -> dict[str, float]:
    """Stage -> most MiB in memory while it ran, and what Python and the libraries took."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write(_KIND, count, data, _HELD_OUT)
        ran = stages.run(data, Path(folder), stages.configuration(_KIND.target))
    peaks = {_BEFORE: ran.before, **ran.peak}
    return {each: peaks[each] / 2**20 for each in (_BEFORE, *_STAGES)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    count = parser.parse_args().count
    if count:
        print(json.dumps(measure(count)))
        return
    found = {}
    for each in COUNTS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.data_memory", "--count", str(each)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        found[each] = json.loads(done.stdout.splitlines()[-1])
        print(f"{each}: {found[each]}", file=sys.stderr, flush=True)
    print(
        "Most MiB in memory while a stage ran, with Python, the libraries and what the stages "
        "before have left; one image in twenty is held out. The VQ-VAE's Trainer holds a block of "
        "shuffled images and reads the next, of 256 MiB each (`training.shuffle_mib`).\n"
    )
    columns = (_BEFORE, *_STAGES)
    print(f"| images | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for each, peaks in found.items():
        print(f"| {each:,} | {' | '.join(f'{peaks[stage]:,.0f}' for stage in columns)} |")


if __name__ == "__main__":
    main()
