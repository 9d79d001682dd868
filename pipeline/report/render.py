"""From what was collected to the HTML page."""

from __future__ import annotations

import base64
import datetime
import io
import math
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml
from PIL import Image

from components import features
from pipeline.local.root import Root
from pipeline.report import graph, judgement, sounds, trainings
from pipeline.report.charts import bars
from pipeline.report.collect import Collected
from pipeline.report.numbers import duration, number, percent

# Side in pixels to which small images are enlarged in the file itself.
_SIDE = 64


def render(collected: Collected) -> str:
    """The whole page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        percent=percent,
        duration=duration,
        image=data_uri,
        local=_local,
        sound=sounds.data_uri,
    )
    steps = [(each.name, each.state, each.seconds) for each in collected.components]
    return environment.get_template("report.html.j2").render(
        run=collected,
        built=datetime.datetime.now(datetime.UTC),
        things="windows" if _is_sound(collected) else "images",
        heard=collected.pictures is not None and collected.pictures.sounds is not None,
        verdict=judgement.verdict(collected),
        facts=_facts(collected),
        tiles=judgement.tiles(collected),
        graphs=[
            (kind, graph.draw(steps, collected.edges, kind == "upright"))
            for kind in ("wide", "upright")
        ],
        metrics=judgement.metric_rows(collected),
        notes=judgement.notes(collected),
        bits=judgement.bits(collected),
        sizes=judgement.sizes(collected),
        pairs=_pairs(collected),
        by_label=judgement.by_label(collected),
        headings={name: heading for name, (heading, _) in judgement.METRICS.items()},
        trainings=[trainings.describe(collected, each) for each in collected.trainings],
        codes=_codes(collected),
        labels=_labels(collected),
        config=_config(collected.config),
        lineage=_lineage(collected),
    )


def _is_sound(collected: Collected) -> bool:
    return collected.config.get("data", {}).get("kind") == "audio"  # not told by runs of before


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, C] as a PNG, enlarged by a whole factor where it is small."""
    factor = max(1, _SIDE // max(image.shape[:2]))
    large = image.repeat(factor, 0).repeat(factor, 1)
    file = io.BytesIO()
    Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large).save(
        file, "PNG", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _facts(collected: Collected) -> list[str]:
    """The line below the title."""
    facts = [f"{collected.finished:%d %B %Y, %H:%M} UTC"]
    if collected.seconds is not None:
        facts.append(duration(collected.seconds))
    if collected.model:
        image = "×".join(map(str, collected.model["image"]))
        codes = "×".join(map(str, collected.model["code_shape"]))
        facts.append(f"{image} pixels → {codes} codes of {collected.model['num_codes']:,}")
    return facts


def _pairs(
    collected: Collected,
) -> list[tuple[np.ndarray, np.ndarray, list[np.ndarray], str, str]]:
    """Original, reconstruction, their sounds if any, label and PSNR of what is shown."""
    pictures = collected.pictures
    if pictures is None:
        return []
    difference = pictures.originals.astype(np.float64) - pictures.reconstructions
    errors = np.square(difference / 255.0).mean(axis=(1, 2, 3)).tolist()
    ratios = [math.inf if error == 0.0 else -10.0 * math.log10(error) for error in errors]
    labels = [
        "" if label < 0 else judgement.label_text(label) for label in pictures.labels.tolist()
    ]
    texts = [f"{ratio:.1f} dB" for ratio in ratios]
    images = (pictures.originals, pictures.reconstructions)
    none: list[list[np.ndarray]] = [[] for _ in labels]
    heard = none if pictures.sounds is None else map(list, pictures.sounds.swapaxes(0, 1))
    return list(zip(*images, heard, labels, texts, strict=True))


def _codes(collected: Collected) -> dict[str, Any] | None:
    counts = collected.code_counts
    if counts is None or not counts.sum():
        return None
    shares = np.sort(counts)[::-1] / counts.sum()
    names = [str(place + 1) for place in range(len(shares))]
    return {
        "chart": bars(
            {f"share of the {number(int(counts.sum()))} codes, %": (100 * shares).tolist()},
            names,
            {"even use": 100.0 / len(shares)},
        ),
        "used": int((counts > 0).sum()),
        "size": len(counts),
        "most": float(shares[0]),
        "least": float(shares[-1]),
    }


def _labels(collected: Collected) -> dict[str, Any] | None:
    """Distribution of the labels per split; None without labels."""
    splits = {
        split: counts
        for split, counts in collected.data.labels.items()
        if any(label != features.NO_LABEL for label in counts)
    }
    if not splits:
        return None
    labels = sorted({label for counts in splits.values() for label in counts})
    chart = bars(
        {
            split: [100 * counts.get(label, 0) / sum(counts.values()) for label in labels]
            for split, counts in sorted(splits.items(), reverse=True)
        },
        [judgement.label_text(label) for label in labels],
    )
    return {"chart": chart, "classes": sum(label != features.NO_LABEL for label in labels)}


def _config(config: dict[str, Any]) -> list[list[tuple[str, str, str]]]:
    """YAML in blocks, one per section; lines as (indent, key, rest)."""
    blocks = []
    for key, value in config.items():
        text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=60)
        lines = [re.fullmatch(r"([\s-]*)([\w.-]+:)?(.*)", line) for line in text.splitlines()]
        blocks.append([(m[1], m[2] or "", m[3]) for m in lines if m])
    return blocks


def _lineage(collected: Collected) -> list[tuple[str, str]]:
    """Facts that identify the run and what it came from."""
    run, model, evaluation = collected.run, collected.model, collected.evaluation
    manifest = collected.manifest or {}
    baseline = evaluation.baseline_version if evaluation else None
    lineage = manifest.get("lineage") or {}
    facts = [
        ("release", manifest.get("version")),
        ("created", manifest.get("created")),
        ("compared with", f"version {baseline}" if baseline else None),
        ("data", run.get("data")),
        ("data fingerprint", (manifest.get("data") or {}).get("fingerprint")),
        (
            "codebook SHA-256",
            model.get("codebook_sha256"),
        ),
        ("run key", run.get("run_key")),
        ("push id", manifest.get("push_id") or run.get("push_id")),
        ("code version", manifest.get("code_version")),
        ("run of the pipeline", lineage.get("pipeline_run_id")),
        ("release store", run.get("serving")),
        ("run root", collected.root and collected.root.path),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _local(uri: str, root: Root | None) -> str:
    """A path relative to the run root where it lies below it."""
    if root is None or not Path(uri).is_relative_to(root.path):
        return uri
    return str(Path(uri).relative_to(root.path))
