"""Which curves are shown of each training, and the facts above them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from pipeline import component_ids as ids
from pipeline.report.charts import Plot, Series, line_plot
from pipeline.report.curves import Curve, Training
from pipeline.report.numbers import duration, number

if TYPE_CHECKING:
    from pipeline.report.collect import Collected

_TITLES = {"vqvae": "VQ-VAE", "prior": "Prior"}
# Styles of curves by their names; the others are of training.
_STYLES = {"held_out": "held", "commitment": "other", "perplexity": "other", "given_label": "other"}


@dataclasses.dataclass(frozen=True)
class Described:
    """A training as the page shows it: heading, (name, value) facts, charts."""

    title: str
    facts: list[tuple[str, str]]
    plots: list[Plot]


def describe(collected: Collected, training: Training) -> Described:
    """Facts and charts of one training."""
    draw = {"vqvae": _vqvae, "prior": _prior}[training.stage]
    return Described(
        _TITLES[training.stage],
        _facts(collected, training),
        [plot for plot in draw(collected, training) if plot is not None],
    )


def _vqvae(collected: Collected, training: Training) -> list[Plot | None]:
    curves, num_codes = training.curves, collected.num_codes
    usage = curves.get("held_out/code_usage")
    if usage and num_codes:
        used = Curve(usage.steps, usage.values * num_codes)
        curves = {**curves, "held_out/codes_used": used}
    return [
        line_plot(
            "NMSE",
            "squared error by variance",
            _series(curves, train="train/nmse", held_out="held_out/nmse"),
            logarithmic=True,
        ),
        line_plot(
            "Loss",
            "what is minimised",
            _series(curves, loss="train/loss", commitment="train/commitment"),
            logarithmic=True,
        ),
        line_plot(
            "Codes used",
            "of the codebook",
            _series(
                curves,
                train="train/codes_used",
                held_out="held_out/codes_used",
                perplexity="held_out/perplexity",
            ),
            levels={"codebook": float(num_codes)} if num_codes else None,
            from_zero=True,
        ),
        line_plot("PSNR", "dB", _series(curves, held_out="held_out/psnr")),
        *_pace(curves),
    ]


def _prior(collected: Collected, training: Training) -> list[Plot | None]:
    metrics = collected.evaluation.metrics if collected.evaluation else {}
    levels = {
        "uniform": metrics.get("uniform_bits_per_code"),
        "unigram": metrics.get("unigram_bits_per_code"),
    }
    return [
        line_plot(
            "Bits per code",
            "cost of the codes",
            _series(
                training.curves,
                train="train/bits_per_code",
                held_out="held_out/bits_per_code",
                given_label="held_out/bits_per_code_given_label",
            ),
            levels={name: value for name, value in levels.items() if value is not None},
        ),
        *_pace(training.curves),
    ]


def _pace(curves: dict[str, Curve]) -> list[Plot | None]:
    rate = _series(curves, learning_rate="train/learning_rate")
    speed = _series(curves, training="train/images_per_second")
    return [
        line_plot("Learning rate", "Adam's step size", rate, from_zero=True),
        line_plot("Speed", "images per second", speed, from_zero=True),
    ]


def _series(curves: dict[str, Curve], **tags: str) -> list[Series]:
    """The curves that are there; the legend's names are those of the arguments."""
    return [
        Series(
            name.replace("held_out", "held-out").replace("_", " "),
            _STYLES.get(name, "train"),
            curves[tag],
            evaluated=tag.startswith("held_out/"),
        )
        for name, tag in tags.items()
        if tag in curves
    ]


def _facts(collected: Collected, training: Training) -> list[tuple[str, str]]:
    component = collected.component(ids.TRAINERS[training.stage])
    stage = (collected.config.get("training") or {}).get(training.stage) or {}
    parameters = collected.model.get(f"{training.stage}_parameters")
    speed = training.curves.get("train/images_per_second")
    facts = [("steps", number(max(int(curve.steps[-1]) for curve in training.curves.values())))]
    if "batch_size" in stage:
        facts.append(("images per step", number(stage["batch_size"])))
    if speed is not None:
        facts.append(("images per second", number(float(np.round(np.median(speed.values))))))
    if parameters is not None:
        facts.append(("parameters", number(parameters)))
    if component is not None and component.seconds is not None:
        state = " (cached)" if component.state == "cached" else ""
        facts.append(("time", duration(component.seconds) + state))
    return facts
