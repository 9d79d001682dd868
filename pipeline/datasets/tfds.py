"""Image data sets of TensorFlow Datasets, an optional package."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pipeline.config.config import ConfigError
from pipeline.datasets.source import EVAL, TRAIN, LabelledImage, Source

_HELD_OUT = ("test", "validation")  # the first that is there; else a tenth of train
_FILE_NAMES = ("file_name", "filename", "image/filename")  # as data sets call an image's own


def open_tfds(name: str, data_dir: Path | None) -> Source:
    """Downloads and prepares `name` where that has not been done, and describes it.

    Args:
        name: `NAME[/CONFIG][:VERSION]`, as `tfds.builder` takes it.
        data_dir: where TensorFlow Datasets keeps its data; None is its own default.

    Raises:
        ConfigError: when the package is missing, the name is unknown, the download fails or the
            data set has no images.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ConfigError(
            f"tfds:{name} needs tensorflow-datasets: pip install '.[datasets]' ({error})"
        ) from error
    # Dozens of lines about retries and deprecations otherwise hide the one that matters.
    for library in ("absl", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder = tfds.builder(name, data_dir=data_dir and str(data_dir))
        builder.download_and_prepare()
    except Exception as error:  # whatever its network, checksum and registry code raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"tfds:{name}: cannot be prepared: {reason}") from error

    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise ConfigError(f"tfds:{name}: has no named features, so no image")
    features = dict(features.items())
    if not isinstance(features.get("image"), tfds.features.Image):
        raise ConfigError(
            f"tfds:{name}: has no image feature `image`; it has {', '.join(features)}"
        )
    labels = features.get("label")
    labels = labels if isinstance(labels, tfds.features.ClassLabel) else None

    splits = _splits(list(builder.info.splits), name)
    decoders = {"image": tfds.decode.SkipDecoding()}
    wanted = {"image": True, "label": True} if labels else {"image": True}
    named = [n for n in _FILE_NAMES if isinstance(features.get(n), tfds.features.Text)][:1]
    wanted |= dict.fromkeys(named, True)

    def images(split: str) -> Iterator[LabelledImage]:
        records = builder.as_dataset(
            split=splits[split],
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders),
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        for record in records.as_numpy_iterator():
            with Image.open(io.BytesIO(record["image"])) as image:
                width, height = image.size
            label = int(record["label"]) if labels else None
            # TensorFlow Datasets marks a missing label, as in some test splits, with -1.
            label = None if label == -1 else label
            source = record[named[0]] if named else b""
            yield LabelledImage(record["image"], label, height, width, source)

    counts = {split: builder.info.splits[where].num_examples for split, where in splits.items()}
    facts = [builder.info.full_name, splits, counts, *named]  # all that the records depend on
    digest = hashlib.sha256(" ".join(map(str, facts)).encode())
    return Source(
        name=f"tfds:{name}",
        fingerprint=digest.hexdigest(),
        counts=counts,
        records=images,
        label_names=tuple(labels.names) if labels else None,
    )


def _splits(available: list[str], name: str) -> dict[str, str]:
    if "train" not in available:
        raise ConfigError(f"tfds:{name}: has no split `train`; it has {', '.join(available)}")
    for held_out in _HELD_OUT:
        if held_out in available:
            return {TRAIN: "train", EVAL: held_out}
    return {TRAIN: "train[:90%]", EVAL: "train[90%:]"}
