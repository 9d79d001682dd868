"""Memory of the stages before and after training, for few and for many photographs.

    python -m benchmarks.data_memory
    python -m benchmarks.data_memory --counts 2000 20000

Photographs of 300×256 pixels become 256×256, with networks that are as small as they can be. Each
component has a process of its own, as on Kubeflow. Prints Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tfx import types

from benchmarks import stages
from benchmarks.photos import Kind, write
from pipeline import component_ids as ids
from pipeline.config.config import Config

COUNTS = (2_000, 20_000, 60_000)
_KIND = Kind(300, 256, "JPEG", 256)
_HELD_OUT = 20  # one in so many
_STAGES = (
    *(ids.EXAMPLE_GEN, ids.STATISTICS_GEN, ids.TRANSFORM, ids.TRAINERS["vqvae"]),
    *(ids.TOKENIZER, ids.TRAINERS["prior"], ids.EVALUATOR),
)
_Told = dict[tuple[str, str], list[dict[str, Any]]]


class Stage(NamedTuple):
    """What one component, in its process, made and took in memory."""

    made: _Told
    before: int  # bytes: Python and the libraries
    peak: int  # bytes at most


def measure(count: int) -> dict[str, float]:
    """Stage -> most MiB in memory while it ran, without Python and the libraries."""
    found, made = {}, {}
    with tempfile.TemporaryDirectory() as name:
        data, folder = Path(name, "data"), Path(name)
        write(_KIND, count, data, _HELD_OUT)
        config = stages.configuration(_KIND.target)
        for component in stages.components(data, folder, config):
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as process:
                stage = process.submit(_execute, component.id, made, data, folder, config).result()
            made.update(stage.made)
            found[component.id] = (stage.peak - stage.before) / 2**20
    return found


def _execute(component_id: str, made: _Told, data: Path, folder: Path, config: Config) -> Stage:
    """One component in this process. Artifacts travel as TFX writes them down."""
    all_of_them = stages.components(data, folder, config)
    (component,) = (each for each in all_of_them if each.id == component_id)
    inputs = {key: [_artifact(each) for each in told] for key, told in made.items()}
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    outputs = stages.execute(component, inputs, folder)
    told = {key: [each.to_json_dict() for each in artifacts] for key, artifacts in outputs.items()}
    return Stage(told, before, _memory("VmHWM"))


def _artifact(told: dict[str, Any]) -> types.Artifact:
    return types.Artifact.from_json_dict(told)


def _memory(kind: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    found = {}
    for count in parser.parse_args().counts:
        found[count] = measure(count)
        print(f"{count}: {found[count]}", file=sys.stderr, flush=True)
    print(
        "Most MiB in memory while a stage ran, besides Python and the libraries; one image in "
        f"{_HELD_OUT} is held out. The VQ-VAE's Trainer holds a block of shuffled images and reads "
        "the next, of 128 MiB each (`training.shuffle_mib`).\n"
    )
    print(f"| images | {' | '.join(_STAGES)} |\n|{'---|' * (len(_STAGES) + 1)}")
    for count, peaks in found.items():
        print(f"| {count:,} | {' | '.join(f'{peaks[stage]:,.0f}' for stage in _STAGES)} |")


if __name__ == "__main__":
    main()
