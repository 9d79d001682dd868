"""What an evaluation found, read back for the command line, the manifest and the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow_model_analysis as tfma
from tfx.dsl.io import fileio

from components import features
from components.errors import PipelineError
from components.evaluator.gate import FRECHET, GateConfig
from models.metrics import METRICS

_GATE_FILE = "gate.json"
# Why a metric of the release of a version is not known.
UNKNOWN = "release %d was made before there was this metric"
_NO_MODEL_NAME = ""  # TFMA's name of a model that is measured alone

Rule = Literal["min", "max", "worse_by", "number"]


@dataclass(frozen=True)
class Check:
    """One threshold and what came of it."""

    metric: str
    # `worse_by` compares with the last release; `number` fails where a metric has no value.
    rule: Rule
    # The threshold as configured; NaN for `number`.
    limit: float
    # The candidate's value on the whole split.
    value: float
    # The last release's value on the same split; None without one.
    baseline: float | None
    ok: bool
    # Why the check could not be made, else empty.
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of the held-out split and the gate's verdict."""

    # The candidate's metrics over the whole split.
    metrics: dict[str, float]
    # The candidate's metrics over the images of one label; empty without labels.
    by_label: dict[int, dict[str, float]]
    # The last release's metrics over the whole split, those that it knows; None without one.
    baseline: dict[str, float] | None
    # Version of the last release; 0 without one.
    baseline_version: int
    # Why there is no release to compare with, else empty.
    baseline_reason: str
    # In the order of the metrics; those that only ask for a number are listed where they fail.
    checks: list[Check]
    blessed: bool


def record_gate(
    evaluation_uri: str,
    gate: GateConfig,
    measured: Sequence[str],
    version: int,
    reason: str,
    incomparable: Mapping[str, str] | None = None,
) -> None:
    """Stores, beside TFMA's results, what they were held against.

    Args:
        evaluation_uri: of the results.
        gate: the thresholds.
        measured: names of all metrics.
        version: of the release that was compared with; 0 and the reason where there was none.
        incomparable: metrics that this release cannot be measured by, and why.
    """
    record = {
        "gate": gate.model_dump(mode="json"),
        "metrics": list(measured),
        "baseline_version": version,
        "baseline_reason": reason,
        "incomparable": dict(incomparable or {}),
    }
    with fileio.open(os.path.join(evaluation_uri, _GATE_FILE), "w") as file:
        file.write(json.dumps(record, indent=2, sort_keys=True) + "\n")


def read(evaluation_uri: str) -> Evaluation:
    """Reads the results of one `ReconstructionEvaluator`.

    Args:
        evaluation_uri: URI of its `evaluation` output.

    Raises:
        PipelineError: there are none.
    """
    path = os.path.join(evaluation_uri, _GATE_FILE)
    if not fileio.exists(path):
        raise PipelineError(f"{path} does not exist: the Evaluator has not finished")
    with fileio.open(path, "r") as file:
        record = json.loads(file.read())
    version = record["baseline_version"]
    measured = record.get("metrics", METRICS)
    slices = _slices(evaluation_uri, measured)
    candidate = tfma.CANDIDATE_KEY if version else _NO_MODEL_NAME
    metrics = slices.get((candidate, None), dict.fromkeys(measured, math.nan))
    unknown = record.get("incomparable", {})
    if isinstance(unknown, list):  # as an earlier version wrote it, without reasons
        unknown = dict.fromkeys(unknown, UNKNOWN % version)
    baseline = slices.get((tfma.BASELINE_KEY, None)) if version else None
    if baseline is not None:
        baseline = {
            name: value
            for name, value in baseline.items()
            # Nor are there metrics of a codebook that the last release does not have.
            if name not in unknown and (name in METRICS or not math.isnan(value))
        }
    by_label = {
        label: values
        for (model, label), values in slices.items()
        if model == candidate and label is not None
    }
    if set(by_label) == {features.NO_LABEL}:
        by_label = {}
    validation = tfma.load_validation_result(evaluation_uri)
    failed = {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for part in validation.metric_validations_per_slice
        for failure in part.failures
    }
    gate = GateConfig.model_validate(record["gate"])
    return Evaluation(
        metrics=metrics,
        by_label=dict(sorted(by_label.items())),
        baseline=baseline,
        baseline_version=version,
        baseline_reason=record["baseline_reason"],
        checks=_checks(gate, metrics, baseline, record["baseline_reason"], unknown, failed),
        blessed=validation.validation_ok,
    )


def format_number(value: float) -> str:
    """Four significant digits, all of those before the point."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def describe_check(check: Check, number: Callable[[float], str] = format_number) -> str:
    """A threshold in words, such as `at most 0.04`, wherever it is shown.

    Args:
        check: the threshold.
        number: how a value of its metric is written.
    """
    if check.rule == "number":
        return "a number"
    if check.rule != "worse_by":
        return f"at {'least' if check.rule == 'min' else 'most'} {number(check.limit)}"
    share = f"{100 * abs(check.limit):.4g}%"
    if check.limit == 0:
        return "no worse than the last release"
    if check.limit < 0:
        return f"at least {share} better than the last release"
    return f"at most {share} worse than the last release"


def _slices(
    evaluation_uri: str, measured: Sequence[str]
) -> dict[tuple[str, int | None], dict[str, float]]:
    """(model name, label or None for all images) -> metric -> value."""
    slices: dict[tuple[str, int | None], dict[str, float]] = {}
    for stored in tfma.load_metrics(evaluation_uri):
        keys = stored.slice_key.single_slice_keys
        label = keys[0].int64_value if keys else None
        for entry in stored.metric_keys_and_values:
            if not entry.key.is_diff:
                values = slices.setdefault((entry.key.model_name, label), {})
                values[entry.key.name] = entry.value.double_value.value
    return {
        (model, label): {
            # Fréchet distances are of the whole split.
            name: values[name]
            for name in measured
            if name in values and (label is None or name not in FRECHET)
        }
        for (model, label), values in slices.items()
    }


def _checks(
    gate: GateConfig,
    metrics: dict[str, float],
    baseline: dict[str, float] | None,
    baseline_reason: str,
    unknown: Mapping[str, str],
    failed: set[tuple[str, bool]],
) -> list[Check]:
    checks = []
    for name, value in metrics.items():
        threshold = gate.thresholds.get(name)
        reference = baseline.get(name) if baseline else None
        found: list[Check] = []
        if threshold and threshold.min is not None:
            ok = value >= threshold.min
            found.append(Check(name, "min", threshold.min, value, reference, ok))
        if threshold and threshold.max is not None:
            ok = value <= threshold.max
            found.append(Check(name, "max", threshold.max, value, reference, ok))
        if threshold and threshold.worse_by is not None:
            ok = (name, True) not in failed
            note = ""
            if reference is None:
                note = f"not compared: {unknown.get(name) or baseline_reason}"
            elif reference == 0.0 or not math.isfinite(reference):
                note = f"the last release scores {reference}, and no share of that can be taken"
            found.append(Check(name, "worse_by", threshold.worse_by, value, reference, ok, note))
        if math.isnan(value) and not any(check.rule in ("min", "max") for check in found):
            note = "it has no value on this split"
            found.append(Check(name, "number", math.nan, value, reference, False, note))
        checks.extend(found)
    return checks
