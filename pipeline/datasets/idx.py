"""MNIST-format IDX files, compressed or not, read as a stream.

An IDX file is two zero bytes, a type (8 = uint8), the number of dimensions, one big-endian
uint32 per dimension, then the values in row-major order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.config import ConfigError
from pipeline.datasets.source import EVAL, TRAIN, LabelledImage, Source, encode_png
from pipeline.progress import Progress

# Where the Debian package dataset-fashion-mnist puts its files.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte.gz …
_FILE = re.compile(r"(.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_READ_BYTES = 1 << 20
_LARGEST_SIDE = 1 << 14  # pixels; a header beyond it is damage, not an image


@dataclass(frozen=True)
class _File:
    path: Path
    shape: tuple[int, ...]  # [N, H, W(, C)] of images, [N] of labels
    digest: str  # of the uncompressed values

    @property
    def item_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64))


def open_fashion_mnist(source: Path | None, progress: Progress) -> Source:
    """Fashion-MNIST from `source`, by default from the Debian package."""
    if source is None:
        source = FASHION_MNIST
        if not source.is_dir():
            raise ConfigError(
                f"Fashion-MNIST is not at {source}: `apt-get install dataset-fashion-mnist` "
                "puts it there, or name a folder of its four IDX files with --source DIR"
            )
    return open_idx(source, progress, "fashion-mnist", FASHION_MNIST_LABELS)


def open_idx(
    folder: Path,
    progress: Progress,
    name: str = "idx",
    label_names: tuple[str, ...] | None = None,
) -> Source:
    """Checks the four files of `folder` to their last byte and describes them.

    Raises:
        ConfigError: naming the file that is missing, damaged, truncated or does not fit.
    """
    found = _find(folder)
    files: dict[str, tuple[_File, _File]] = {}
    for split in (TRAIN, EVAL):
        images = _check(found[split, "images"], (3, 4), progress)
        labels = _check(found[split, "labels"], (1,), progress)
        if images.shape[0] != labels.shape[0]:
            raise ConfigError(
                f"{labels.path}: holds {labels.shape[0]} labels, but {images.path.name} "
                f"holds {images.shape[0]} images"
            )
        files[split] = images, labels

    digest = hashlib.sha256()
    for split, pair in files.items():
        for file in pair:
            digest.update(f"{split} {file.shape} {file.digest}\n".encode())
    return Source(
        name=name,
        fingerprint=digest.hexdigest(),
        counts={split: images.shape[0] for split, (images, _) in files.items()},
        records=lambda split: _read(*files[split]),
        label_names=label_names,
    )


def _find(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, images or labels) -> file. An uncompressed file goes before its .gz."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        key = (TRAIN if match[2] == "train" else EVAL, match[3])
        other = found.setdefault(key, path)
        if other != path and path.name != f"{other.name}.gz":
            raise ConfigError(
                f"{folder}: {other.name} and {path.name} are both {key[0]} {key[1]}; "
                "leave the files of one data set"
            )
    for split, stem in ((TRAIN, "train"), (EVAL, "t10k")):
        for kind, rank in (("images", 3), ("labels", 1)):
            if (split, kind) not in found:
                raise ConfigError(f"{folder}: {stem}-{kind}-idx{rank}-ubyte[.gz] is missing")
    return found


def _check(path: Path, ranks: tuple[int, ...], progress: Progress) -> _File:
    """Reads the file to its end: header, exact length and digest."""
    digest = hashlib.sha256()
    with _open(path) as stream:
        shape = _header(stream, path, ranks)
        expected = int(np.prod(shape, dtype=object))
        length = 0
        while block := stream.read(_READ_BYTES):
            digest.update(block)
            length += len(block)
            if length > expected:
                break
            progress(f"checking {path.name}", shape[0] * length // expected, shape[0])
    if length != expected:
        raise ConfigError(
            f"{path}: the header promises {expected} bytes of values {list(shape)}, the file "
            + (f"ends after {length}: it is truncated" if length < expected else "holds more")
        )
    return _File(path, shape, digest.hexdigest())


def _header(stream: io.BufferedIOBase, path: Path, ranks: tuple[int, ...]) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ConfigError(f"{path}: not an IDX file: it starts with {magic.hex(' ') or 'nothing'}")
    if magic[2] != 8 or magic[3] not in ranks:
        raise ConfigError(
            f"{path}: holds IDX type 0x{magic[2]:02x} with {magic[3]} dimensions; unsigned bytes "
            f"(0x08) with {' or '.join(map(str, ranks))} are needed"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ConfigError(f"{path}: ends within its header: it is truncated")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise ConfigError(f"{path}: holds nothing: its shape is {list(shape)}")
    if max(shape[1:], default=0) > _LARGEST_SIDE or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        raise ConfigError(
            f"{path}: {list(shape)} is no shape of images [N, H, W] or [N, H, W, C], C = 1, 3 or 4"
        )
    return shape


def _read(images: _File, labels: _File) -> Iterator[LabelledImage]:
    _, height, width, *_ = images.shape
    batch = max(1, _READ_BYTES // images.item_bytes)
    with _open(images.path) as pixel_stream, _open(labels.path) as label_stream:
        pixel_stream.read(4 + 4 * len(images.shape))
        label_stream.read(4 + 4 * len(labels.shape))
        for start in range(0, images.shape[0], batch):
            size = min(batch, images.shape[0] - start)
            block = pixel_stream.read(size * images.item_bytes)
            marks = label_stream.read(size)
            if len(block) < size * images.item_bytes or len(marks) < size:
                raise ConfigError(f"{images.path}: changed while it was read; run it again")
            pixels = np.frombuffer(block, np.uint8).reshape(size, *images.shape[1:])
            for image, label in zip(pixels, marks, strict=True):
                yield LabelledImage(encode_png(image), label, height, width)


@contextmanager
def _open(path: Path) -> Iterator[io.BufferedIOBase]:
    """Opens a file, compressed or not by its content; what goes wrong in it names the file."""
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if compressed:
                with gzip.open(raw) as stream:
                    yield stream
            else:
                yield raw
    except EOFError as error:
        raise ConfigError(f"{path}: its gzip stream is truncated; fetch the file again") from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
