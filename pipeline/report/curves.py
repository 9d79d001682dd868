"""Training curves, read back from TensorBoard's event files."""

from __future__ import annotations

import dataclasses

import numpy as np
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

# Points kept of a curve: more than its drawing has pixels for.
_POINTS = 400


@dataclasses.dataclass(frozen=True)
class Curve:
    """A scalar over training: `steps` int64 [N], ascending, and `values` float64 [N]."""

    steps: np.ndarray
    values: np.ndarray

    @property
    def last(self) -> float:
        return float(self.values[-1])


@dataclasses.dataclass(frozen=True)
class Training:
    """One training: `stage` is `vqvae` or `prior`, `curves` go by tag (`held_out/nmse`)."""

    stage: str
    curves: dict[str, Curve]


def read(logs: str, stage: str) -> Training | None:
    """Every scalar below a log directory; None where there is none.

    A training that was interrupted and went on has several event files, whose steps may
    overlap: of a step that was logged twice the later value counts. Steps after the one that was
    logged last of all are of an earlier, longer training.
    """
    # 0 keeps all tensors: without it TensorBoard samples 10 per tag.
    accumulator = event_accumulator.EventAccumulator(
        logs, size_guidance={event_accumulator.TENSORS: 0}
    )
    accumulator.Reload()
    events = {
        tag: accumulator.Tensors(tag)
        for tag in accumulator.Tags()["tensors"]
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }
    logged = [(each.wall_time, each.step) for found in events.values() for each in found]
    _, last = max(logged, default=(0.0, 0))
    curves = {}
    for tag, found in events.items():
        values = {
            event.step: float(tensor_util.make_ndarray(event.tensor_proto))
            for event in found
            if event.step <= last
        }
        if values:
            curves[tag] = _curve(values)
    return Training(stage, curves) if curves else None


def _curve(values: dict[int, float]) -> Curve:
    steps = np.array(sorted(values), np.int64)
    if len(steps) > _POINTS:  # the first and the last stay
        steps = steps[np.linspace(0, len(steps) - 1, _POINTS).round().astype(int)]
    return Curve(steps, np.array([values[step] for step in steps.tolist()], np.float64))
