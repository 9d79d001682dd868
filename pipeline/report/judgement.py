"""How the run was judged: its verdict, and its metrics beside thresholds and the last release."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from components import features
from components.evaluator.gate import HIGHER_IS_BETTER, LOWER_IS_BETTER
from components.evaluator.results import Check, describe_check
from models.metrics import of_codebook
from pipeline import component_ids as ids
from pipeline.report.collect import Collected
from pipeline.report.numbers import number, percent

# Metric -> heading, meaning.
METRICS = {
    "nmse": ("NMSE", "squared error by variance of the pixels: 0 is perfect, 1 the mean image"),
    "psnr": ("PSNR", "dB, of the mean squared error, peak 255"),
    "ssim": ("SSIM", "structural similarity, the mean over the images: 1 is perfect"),
    "rfid": ("rFID", "Fréchet distance of reconstructions, in the features of gate.features"),
    "fid": ("FID", "the same of samples; both are biased upwards where images are few"),
    "fid_images": ("images of FID", "held-out images, and as many samples"),
    "code_usage": ("codes used", "share of the codebook that occurs in the held-out images"),
    "perplexity": ("perplexity", "as many codes as used evenly"),
    "prior_bits_per_code": ("prior bits/code", "what the learned prior spends on a code"),
    "prior_bits_per_code_given_label": (
        "prior bits/code, label given",
        "the same, of a prior that is told the label",
    ),
    "unigram_bits_per_code": ("unigram bits/code", "entropy of the code frequencies"),
    "uniform_bits_per_code": ("uniform bits/code", "log₂ of the codebook's size"),
    "bits_per_dim": ("bits/dim", "to store a pixel value without loss, codes included"),
    "stoi": ("STOI", "intelligibility of the reconstruction beside its original: 1 is perfect"),
    "log_spectral_distance": ("log-spectral distance", "dB, reconstruction from original"),
    "bits_per_second": ("bits/s", "what the prior spends on a second of sound"),
    "code_bits_per_second": ("code bits/s", "the same without a prior"),
    "speaker_accuracy": ("speakers known", "share of real windows whose speaker the judge names"),
    "conversion_target": ("heard as target", "share of converted windows in the new voice"),
    "conversion_source": ("heard as source", "share of converted windows in the old voice"),
    "conversion_content": ("content kept", "share of the codes that come back after conversion"),
    "phoneme_accuracy": ("phonemes right", "share of moments whose phone the code stands for"),
    "phoneme_majority": ("most frequent phoneme", "the same, saying that one always"),
}
# Metrics that are shares, and those that do not differ between labels.
_SHARES = ("code_usage", "speaker_accuracy", "conversion_", "phoneme_")
_SETTINGS = ("uniform_bits_per_code", "code_bits_per_second")
# Metrics at the top of the page.
_TILES = ("nmse", "psnr", "code_usage", "prior_bits_per_code", "bits_per_dim")
_DECIBELS = ("psnr", "log_spectral_distance")
_MOST_LABELS = 30


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of the run; `kind` is `good`, `same`, `bad` or `broken`."""

    kind: str
    title: str
    detail: str


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """A line of the metrics table; `better` is None where there is nothing to compare."""

    name: str
    meaning: str
    value: str
    baseline: str
    change: str
    better: bool | None
    checks: list[tuple[str, bool]]


def verdict(collected: Collected) -> Verdict:
    """The one thing to know about the run."""
    failed, evaluation = collected.failed, collected.evaluation
    if failed is not None:
        log = f"The log is {collected.root.log}." if collected.root else ""
        reason = collected.error or log
        return Verdict("broken", f"Failed in {failed.name}", reason)
    if evaluation is None or collected.component(ids.PUSHER) is None:
        return Verdict("broken", "Not finished", "The run ended before the gate had judged it.")
    if not evaluation.blessed:
        missed = [f"{_missed(check)}" for check in evaluation.checks if not check.ok]
        return Verdict("bad", "Refused by the gate", f"{'; '.join(missed)}. Nothing was released.")
    if collected.manifest is None:
        return Verdict("broken", "Passed the gate, but nothing was released", "Run it again.")
    version = collected.manifest.get("version")
    if all(component.state == "cached" for component in collected.components):
        return Verdict(
            "same",
            f"No change: everything cached, version {version}",
            "Code, configuration and data are those of the run that released it.",
        )
    compared = (
        f"It was compared with version {evaluation.baseline_version}."
        if evaluation.baseline_version
        else f"Not compared: {evaluation.baseline_reason}."
    )
    detail = f"Every threshold is met. {compared}"
    if (collected.config.get("release") or {}).get("rollout") == "canary":
        detail += (
            f" A canary: beside a stable release, `vqvae releases promote {version}` decides about "
            "it."
        )
    return Verdict("good", f"Released version {version}", detail)


def metric_rows(collected: Collected) -> list[MetricRow]:
    """Metrics beside the last release's values and the thresholds."""
    evaluation = collected.evaluation
    if evaluation is None:
        return []
    rows = []
    for name, value in evaluation.metrics.items():
        reference = (evaluation.baseline or {}).get(name)
        change, better = _change(name, value, reference)
        heading, meaning = _named(name)
        checks = [(_rule(each), each.ok) for each in evaluation.checks if each.metric == name]
        rows.append(
            MetricRow(
                heading,
                meaning,
                metric_text(name, value),
                metric_text(name, reference),
                change,
                better,
                checks,
            )
        )
    return rows


def notes(collected: Collected) -> list[str]:
    """What is to be said of thresholds that could not be checked."""
    evaluation = collected.evaluation
    if evaluation is None:
        return []
    noted = [(each.metric, each.note) for each in evaluation.checks if each.note]
    return [f"{_named(name)[0]}: {note}" for name, note in noted]


def bits(collected: Collected) -> list[tuple[str, float, str]]:
    """Code cost under each model: label, bits, style."""
    if collected.evaluation is None:
        return []
    metrics = collected.evaluation.metrics
    found = [
        ("uniform", metrics.get("uniform_bits_per_code"), "train"),
        ("unigram", metrics.get("unigram_bits_per_code"), "train"),
        ("prior", metrics.get("prior_bits_per_code"), "held"),
    ]
    for training in collected.trainings:
        curve = training.curves.get("held_out/bits_per_code_given_label")
        if training.stage == "prior" and curve is not None:
            found.append(("prior, label given", curve.last, "held"))
    return [(label, bits, style) for label, bits, style in found if bits and math.isfinite(bits)]


def sizes(collected: Collected) -> list[tuple[str, str]]:
    """Bits of one image, or window of sound: as it is, and its codes under the prior."""
    metrics = collected.evaluation.metrics if collected.evaluation else {}
    bits_per_code = metrics.get("prior_bits_per_code", math.nan)
    if not collected.model or not math.isfinite(bits_per_code):
        return []
    if audio := collected.model.get("audio"):
        what, bits = "a window's samples, 16 bits each", 16 * audio["frames"] * audio["hop"]
    else:
        what, bits = "an image's pixels", 8 * math.prod(collected.model["image"])
    codes = math.prod(collected.model["code_shape"]) * bits_per_code
    return [
        (what, f"{number(bits)} bits"),
        ("its codes, by the prior", f"{number(codes)} bits"),
        *([("ratio", f"{bits / codes:.3g} : 1")] if codes else []),
    ]


def by_label(collected: Collected) -> dict[str, Any] | None:
    """Rows of metrics per label, the worst first where there are too many."""
    by_label = collected.evaluation.by_label if collected.evaluation else {}
    if not by_label:
        return None
    counts = collected.data.labels.get("eval", {})
    labels = list(by_label)
    if len(labels) > _MOST_LABELS:
        labels = sorted(labels, key=lambda label: -by_label[label].get("nmse", 0.0))[:_MOST_LABELS]
    names = [name for name in METRICS if name in by_label[labels[0]] and name not in _SETTINGS]
    worst = max((by_label[label].get("nmse") or 0.0 for label in labels), default=0.0)
    rows = [
        {
            "label": label_text(label),
            "images": number(counts.get(label)),
            "values": [metric_text(name, by_label[label].get(name)) for name in names],
            "share": _finite(by_label[label].get("nmse", 0.0) / worst) if worst else 0.0,
        }
        for label in labels
    ]
    return {"names": names, "rows": rows, "hidden": len(by_label) - len(labels)}


def tiles(collected: Collected) -> list[tuple[str, str]]:
    """The most telling metrics: heading, value."""
    metrics = collected.evaluation.metrics if collected.evaluation else {}
    return [
        (METRICS[name][0], metric_text(name, metrics[name])) for name in _TILES if name in metrics
    ]


def metric_text(name: str, value: float | None) -> str:
    """A metric's value in its unit."""
    if name.startswith(_SHARES):
        return percent(value)
    text = number(value, exact=True)
    return f"{text} dB" if name in _DECIBELS and value is not None else text


def label_text(label: int) -> str:
    """A label as it is shown."""
    return "none" if label == features.NO_LABEL else str(label)


def _named(metric: str) -> tuple[str, str]:
    """Heading and meaning of a metric."""
    of_one = of_codebook(metric)
    if of_one:
        heading, meaning = METRICS[of_one[0]]
        return f"{heading}, codebook {of_one[1]}", meaning
    return METRICS.get(metric, (metric, ""))


def _change(name: str, value: float, reference: float | None) -> tuple[str, bool | None]:
    if reference is None or not reference or not math.isfinite(value - reference):
        return "–", None
    share = (value - reference) / abs(reference)
    text = f"{100 * share:+.2f} %".replace("-", "−")
    if abs(share) < 5e-5:
        return "0.00 %", None
    if name in LOWER_IS_BETTER:
        return text, share < 0
    return text, share > 0 if name in HIGHER_IS_BETTER else None


def _rule(check: Check) -> str:
    """A threshold in words, with numbers as the page writes them."""
    return describe_check(
        check,
        lambda limit: percent(limit) if check.metric.startswith(_SHARES) else number(limit),
    )


def _missed(check: Check) -> str:
    heading = _named(check.metric)[0]
    rule = _rule(check)
    if check.rule == "worse_by" and check.baseline is not None:
        rule += f" ({metric_text(check.metric, check.baseline)})"
    return f"{heading} {metric_text(check.metric, check.value)}, allowed {rule}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
