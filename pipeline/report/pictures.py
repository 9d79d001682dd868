"""Held-out images beside their reconstructions, and samples, made with the run's own models.

Of sound there are spectrograms, and the sound itself.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from components import contents, durable_files, features
from components.audio.wav import sixteen_bits
from components.errors import PipelineError
from components.kinds import AudioKind, ImageKind, kind_of
from components.release_store.loading import load
from components.stored_images import parser
from components.trainer import exported
from models.exported import pixels_of, takes_labels
from pipeline.report import sounds
from pipeline.report.data import records

# Where the pictures of a report lie as arrays.
ARRAYS = "pictures.npz"
_SAMPLE, _SOUND = "sample_", "sound_of_sample_"  # followed by the label

_SEED = 0
_TEMPERATURE = 1.0

# Bounds on the size of the report and the time to build it.
_CANDIDATES = 512  # held-out images to choose from
_PAIRS = 40
_PAIR_BYTES = 3 << 20
_ROWS = 10
_COLUMNS = 10
_SAMPLED_CODES = 100 * 64
# Of windows of sound, which are larger than pictures: pairs, and samples of a label.
_SOUND_PAIRS = 12
_SOUND_CANDIDATES = 4096  # a recording has many, and a speaker many recordings in a row
_SOUND_COLUMNS = 3


@dataclasses.dataclass(frozen=True)
class Samples:
    """Images drawn for one label, -1 for any; uint8 [N, H, W, C]. Of sound int16 [N, S] too."""

    label: int
    images: np.ndarray
    sounds: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Arrays of one run: `originals` and `reconstructions` uint8 [N, H, W, C], `labels` [N].

    Of sound the images are spectrograms, with time along the rows, and `sounds` those of the
    originals and of the reconstructions, int16 [2, N, S], at `rate` Hz.
    """

    originals: np.ndarray
    reconstructions: np.ndarray
    labels: np.ndarray
    samples: list[Samples]
    sounds: np.ndarray | None = None
    rate: int = 0
    seed: int = _SEED
    temperature: float = _TEMPERATURE


def make(transformed: str, model: str, facts: dict[str, Any]) -> Pictures:
    """Encodes and decodes held-out images and draws samples.

    Args:
        transformed: Examples that Transform wrote.
        model: the combined Model artifact, whose `release/` is used, as it is served.
        facts: its model.json.
    """
    kind = kind_of(facts)
    release = exported.release(model)
    originals, labels, heard = _held_out(transformed, kind)
    codes = _signature(release / "encode", "pixels")(images=tf.constant(originals))["codes"]
    given = {"codes": codes}
    decode = _signature(release / "decode", "serving_default")
    if takes_labels(decode):  # of a conditional decoder
        # A label that training never saw says nothing.
        known = np.where(labels < int(facts["num_classes"]), labels, features.NO_LABEL)
        given["labels"] = tf.constant(known, tf.int32)
    decoded = decode(**given)
    return Pictures(
        originals=_shown(originals, kind),
        reconstructions=_shown(pixels_of(decoded).numpy(), kind),
        labels=labels,
        samples=_draw(release / "sample", kind, facts),
        sounds=None if heard is None else np.stack([heard, sixteen_bits(decoded["audio"].numpy())]),
        rate=kind.audio.rate if kind.kind == "audio" else 0,
    )


def write(pictures: Pictures, folder: Path) -> None:
    """Keeps the arrays in a folder, for `read`."""
    arrays = {
        "originals": pictures.originals,
        "reconstructions": pictures.reconstructions,
        "labels": pictures.labels,
        **{f"{_SAMPLE}{each.label}": each.images for each in pictures.samples},
    }
    if pictures.sounds is not None:
        arrays |= {"sounds": pictures.sounds, "rate": np.array(pictures.rate)}
        for each in pictures.samples:
            if each.sounds is not None:
                arrays[f"{_SOUND}{each.label}"] = each.sounds
    with durable_files.appearing(folder / ARRAYS) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(folder: str) -> Pictures | None:
    """What `write` has kept; None where it has kept nothing."""
    path = Path(folder, ARRAYS)
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        labels = [name.removeprefix(_SAMPLE) for name in arrays if name.startswith(_SAMPLE)]
        samples = [
            Samples(int(label), arrays[_SAMPLE + label], arrays.get(_SOUND + label))
            for label in labels
        ]
        return Pictures(
            originals=arrays["originals"],
            reconstructions=arrays["reconstructions"],
            labels=arrays["labels"],
            samples=samples,
            sounds=arrays.get("sounds"),
            rate=int(arrays.get("rate", 0)),
        )


def _held_out(
    transformed: str, kind: ImageKind | AudioKind
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Images of the held-out split, of each label about as many, ordered by label; and labels.

    Of sound also that, int16 [N, S].
    """
    sound = kind if kind.kind == "audio" else None
    most, candidates = (_PAIRS, _CANDIDATES) if sound is None else (_SOUND_PAIRS, _SOUND_CANDIDATES)
    limit = max(1, min(most, _PAIR_BYTES // math.prod(kind.shape)))
    dataset = records(Path(transformed, "Split-eval")).take(candidates).batch(64)
    parse = parser(kind.shape, contents.read(transformed).pixels)
    batches = list(dataset.map(parse).as_numpy_iterator())
    if not batches:
        raise PipelineError(f"{transformed}: the held-out split is empty")
    images = np.concatenate([batch[features.IMAGE] for batch in batches])
    labels = np.concatenate([batch[features.LABEL] for batch in batches])
    # The n-th image of every label comes before the n + 1st of any.
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    rank = np.arange(len(order)) - starts
    chosen = order[np.argsort(rank, kind="stable")][:limit]
    chosen = chosen[np.argsort(labels[chosen], kind="stable")]
    heard = None if sound is None else sounds.of_records(dataset.unbatch(), chosen, sound)
    return images[chosen], labels[chosen], heard


def _draw(model: Path, kind: ImageKind | AudioKind, facts: dict[str, Any]) -> list[Samples]:
    """Samples without a label, then a row per class, classes spread evenly if many."""
    classes = int(facts["num_classes"])
    number = max(16, min(_ROWS * _COLUMNS, _SAMPLED_CODES // math.prod(facts["code_shape"])))
    if not classes:
        counts = {features.NO_LABEL: number}
    else:
        rows = max(1, min(_ROWS, number // 4, classes))
        most = _SOUND_COLUMNS if kind.kind == "audio" else _COLUMNS
        columns = max(1, min(most, number // rows))
        shown = np.unique(np.linspace(0, classes - 1, rows).round().astype(int)).tolist()
        counts = {features.NO_LABEL: 2 * columns, **dict.fromkeys(shown, columns)}
    drawn = _signature(model, "serving_default")(
        labels=tf.constant(np.repeat(list(counts), list(counts.values())), tf.int32),
        seed=tf.constant(_SEED, tf.int64),
        temperature=tf.constant(_TEMPERATURE, tf.float32),
    )
    ends = np.cumsum(list(counts.values()))[:-1]
    arrays = [np.split(_shown(pixels_of(drawn).numpy(), kind), ends)]
    if kind.kind == "audio":
        arrays.append(np.split(sixteen_bits(drawn["audio"].numpy()), ends))
    return [Samples(*each) for each in zip(counts, *arrays, strict=True)]


def _shown(images: np.ndarray, kind: ImageKind | AudioKind) -> np.ndarray:
    """Images as they are; spectrograms with time from left to right and low tones at the bottom."""
    return images.swapaxes(1, 2)[:, ::-1] if kind.kind == "audio" else images


def _signature(model: Path, name: str):
    loaded = load(model)
    signature = loaded.signatures[name]
    signature.keep_alive = loaded  # a signature alone does not keep its variables
    return signature


def write_png(pictures: Pictures, path: Path, columns: int = 10) -> Path:
    """Writes one PNG for a README: originals, reconstructions below them, then samples.

    Args:
        pictures: as `make` returns them.
        path: file to write; its folder is made.
        columns: images beside each other.
    """
    count = min(columns, len(pictures.originals))
    spread = np.linspace(0, len(pictures.originals) - 1, count).round().astype(int)
    groups = [
        ("held-out images", [pictures.originals[spread]]),
        ("their reconstructions", [pictures.reconstructions[spread]]),
        *_sample_rows(pictures, columns),
    ]
    height, width = pictures.originals.shape[1:3]
    factor = max(1, round(64 / max(height, width)))
    cell_height, cell_width, gap, margin, line = height * factor, width * factor, 6, 20, 34
    rows = sum(len(images) for _, images in groups)
    size = (
        2 * margin + columns * (cell_width + gap) - gap,
        2 * margin + len(groups) * line + rows * (cell_height + gap) - gap,
    )
    canvas = Image.new("RGB", size, "white")
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(17), margin
    for title, lines in groups:
        draw.text((margin, top + 8), title, fill="#333", font=font)
        top += line
        for images in lines:
            for column, image in enumerate(images):
                canvas.paste(_upscaled(image, factor), (margin + column * (cell_width + gap), top))
            top += cell_height + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, optimize=True)
    return path


def _sample_rows(pictures: Pictures, columns: int) -> list[tuple[str, list[np.ndarray]]]:
    """Samples as titled rows of images: of classes, one per column, and without a label."""
    free, *by_class = pictures.samples
    shown = free.images[: (2 if by_class else 4) * columns]
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    groups = [("samples without a label" if by_class else "samples from the prior", rows)]
    if by_class:
        depth = min(4, len(by_class[0].images))
        rows = [np.stack([each.images[row] for each in by_class[:columns]]) for row in range(depth)]
        groups.insert(0, ("samples by class", rows))
    return groups


def _upscaled(image: np.ndarray, factor: int) -> Image.Image:
    large = image.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large)
