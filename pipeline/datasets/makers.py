"""Which maker the name of a data set stands for."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.config import ConfigError
from pipeline.datasets.cifar10 import open_cifar10
from pipeline.datasets.digits import open_digits
from pipeline.datasets.folder import open_folder
from pipeline.datasets.folder_audio import AUDIO_FILES
from pipeline.datasets.folder_images import IMAGES
from pipeline.datasets.idx import open_fashion_mnist, open_idx
from pipeline.datasets.source import Source
from pipeline.datasets.speech import open_speech
from pipeline.datasets.tfds import open_tfds
from pipeline.progress import Progress
from pipeline.user_path import expanded


def open_source(name: str, source: Path | None, progress: Progress) -> Source:
    """Finds the images or the speech that `name` and `source` stand for.

    Args:
        name: `digits`, `fashion-mnist`, `cifar10`, `idx`, `folder`, `tfds:NAME`, `speech` or
            `audio-folder`.
        source: folder to read from, for the names that read one.
        progress: told of the reading where it takes time.

    Raises:
        ConfigError: when the name is unknown, the source is missing or is not what `name` reads.
    """
    if source is not None and name != "digits":
        source = Path(expanded(str(source)))
        if not source.is_dir():
            raise ConfigError(f"--source {source}: no such folder")
    if name == "digits":
        if source is not None:
            raise ConfigError("digits are embedded and read no --source; leave it out")
        return open_digits()
    if name == "fashion-mnist":
        return open_fashion_mnist(source, progress)
    if name == "cifar10":
        return open_cifar10(_required(name, source), progress)
    if name == "idx":
        return open_idx(_required(name, source), progress)
    if name == "folder":
        return open_folder(_required(name, source), IMAGES, progress)
    if name == "speech":
        return open_speech(source, progress)
    if name == "audio-folder":
        return open_folder(_required(name, source), AUDIO_FILES, progress)
    if name.startswith("tfds:") and name != "tfds:":
        return open_tfds(name.removeprefix("tfds:"), source)
    raise ConfigError(
        f"unknown data set {name!r}; known: digits, fashion-mnist, cifar10, idx, folder, "
        "tfds:NAME, speech, audio-folder"
    )


def _required(name: str, source: Path | None) -> Path:
    if source is None:
        raise ConfigError(f"{name} reads a folder: name it with --source DIR")
    return source
