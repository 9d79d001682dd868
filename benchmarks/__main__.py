"""All benchmarks, one after the other, into `benchmarks/results.md`.

    python -m benchmarks                     all
    python -m benchmarks training sampling   these; the other sections stay as they are

Every section names the machine, the versions and the load it was measured under. A benchmark that
fails leaves its section as it was.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import describe

RESULTS = Path(__file__).parent / "results.md"
SECTIONS = {
    "data": "Data stages, against a bare decode of every image",
    "data_memory": "Memory of the data stages, for few and for many images",
    "training": "Training step, against Keras `fit`",
    "throughput": "The training loop, over devices and beside a bare step",
    "augmentation": "Changes to training images, against a gather an axis",
    "quality": "Networks, quantizers and priors at one CPU budget",
    "codebooks": "Small and large codebooks on colour images",
    "example_quality": "Quality of the quantizers on the network of the Keras example",
    "sampling": "Sampling from the prior, against recomputing the network",
    "cache": "Keeping what a loop computes, by how much there is",
    "serving": "`vqvae serve` under load, against the bare SavedModels",
    "quantizers": "Quantizers, against dm-sonnet and vector-quantize-pytorch",
}
_HEAD = """# Benchmarks

Written by `make bench`; each section by one command, in which all that is compared ran.
Ratios travel to another machine, times do not.
"""


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    names = parser.parse_args().names or list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    failed = [name for name in names if not _run(name)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(name: str) -> bool:
    print(f"== {name}", file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        return False
    today = datetime.date.today()
    measured = f"`python -m benchmarks.{name}`, {today}, load average {load:.1f} at the start: "
    _write(name, f"{measured}{describe()}.\n\n{done.stdout.strip()}\n")
    return True


def _write(name: str, body: str) -> None:
    """Puts one section in its place."""
    sections = {}
    if RESULTS.exists():
        for section in RESULTS.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = section.partition("\n")
            sections[title] = text.strip() + "\n"
    sections[SECTIONS[name]] = body
    parts = [f"## {title}\n\n{sections[title]}" for title in SECTIONS.values() if title in sections]
    partial = RESULTS.with_suffix(".partial")
    partial.write_text("\n".join([_HEAD, *parts]), encoding="utf-8")
    partial.replace(RESULTS)


if __name__ == "__main__":
    main()
