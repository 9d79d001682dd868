"""Codes on disk: one .npz file of plain arrays, read by `numpy.load` without pickle.

    format           int    []                2, 3 with `pixels_per_code`, 4 with `samples`
    codes            uint   [N, h, w(, g)]    the smallest of 8, 16 and 32 bits that holds them
    names            str    [N]               of the images, `/` between folders
    sizes            int32  [N, 2]            height and width of each image as it came, upright;
                                              0, 0 where that is not known
    release          int64  []                version of the release whose encoder made the codes
    codebook_sha256  str    []                codes mean the same only where it is the same
    labels           int64  [N]               optional; -1 for an image without one
    records          int64  [N]               optional; place in the TFRecord file they came from
    pixels_per_code  int64  [2]               only where pictures kept their sizes
                                              (`vqvae encode --tiles`): rows and columns of pixels.
                                              The codes of each begin at the first row and column;
                                              behind them are zeros up to those of the largest
    samples          int64  [N]               only of audio, where a row is a window of a recording
                                              and has its name: real samples, at the rate of the
                                              release; padding follows. `sizes` are 0, 0
    windows          int64  [N]               with `samples`: number of the window. 0 begins a
                                              recording, the others follow it in order, end to end

Files without `format`, `sizes` and `names`, which earlier versions wrote, are read as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from components import durable_files, features
from components.errors import PipelineError

FORMAT = 4
# What the arrays of a file may take in memory together, codes counted as int32. Compressed
# bytes say little: a few of them can announce a thousand times as many.
MAX_BYTES = 4 << 30

# Member -> kinds of dtype that it may have, and its rank; None is 3 or 4.
_MEMBERS = {
    "format": ("iu", 0),
    "codes": ("iu", None),
    "names": ("U", 1),
    "sizes": ("iu", 2),
    "release": ("iu", 0),
    "codebook_sha256": ("U", 0),
    "labels": ("iu", 1),
    "records": ("iu", 1),
    "pixels_per_code": ("iu", 1),
    "samples": ("iu", 1),
    "windows": ("iu", 1),
}
_REQUIRED = ("codes", "release", "codebook_sha256")
_OPTIONAL = ("labels", "records", "pixels_per_code", "samples", "windows")
# What zipfile, zlib and numpy raise for bytes that are not what they should be.
_DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, SyntaxError, MemoryError),
)


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of N images, and what they belong to.

    Attributes:
        codes: int32 [N, h, w], or [N, h, w, g] with g codebooks per position.
        names: str [N].
        sizes: int32 [N, 2], height and width of each image as it came; 0, 0 is unknown.
        release: version of the release that made them.
        codebook_sha256: fingerprint of its codebook.
        labels: int64 [N], -1 for none; None where no image has one.
        records: int64 [N], the place of each in the TFRecord file it came from, or None.
        pixels_per_code: int64 [2], rows and columns, of pictures that were encoded in tiles; else
            None.
        samples: int64 [N], real samples of windows of recordings; None of images.
        windows: int64 [N], the number of each in its recording; None of images.
    """

    codes: np.ndarray
    names: np.ndarray
    sizes: np.ndarray
    release: int
    codebook_sha256: str
    labels: np.ndarray | None = None
    records: np.ndarray | None = None
    pixels_per_code: np.ndarray | None = None
    samples: np.ndarray | None = None
    windows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)


class Header(NamedTuple):
    """What a file of codes says of itself, without the codes."""

    images: int
    code_shape: tuple[int, ...]
    release: int
    codebook_sha256: str
    in_tiles: bool


def write(path: Path, codes: Codes) -> None:
    """Writes a file of codes, replacing one of that name only when the new one is whole.

    Raises:
        PipelineError: it cannot be written.
    """
    arrays = {
        "format": np.int64(_format(codes)),
        "codes": narrowest(codes.codes),
        "names": np.asarray(codes.names, dtype=np.str_),
        "sizes": np.asarray(codes.sizes, np.int32),
        "release": np.int64(codes.release),
        "codebook_sha256": np.array(codes.codebook_sha256),
    }
    for name in _OPTIONAL:
        if (values := getattr(codes, name)) is not None:
            arrays[name] = np.asarray(values, np.int64)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable_files.appearing(path) as unfinished, open(unfinished, "xb") as file:
            # One might be called allow_pickle, for all that the stubs know.
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise PipelineError(f"{path}: cannot be written: {error.strerror or error}") from error


def _format(codes: Codes) -> int:
    """The first format that has what they have: readers of it need know nothing else."""
    if codes.samples is not None:
        return 4
    return 2 if codes.pixels_per_code is None else 3


def narrowest(codes: np.ndarray) -> np.ndarray:
    """The same codes, none of them negative, in the smallest unsigned type that holds them."""
    smallest = features.code_dtype(int(codes.max(initial=0)) + 1)
    return codes.astype(f"<u{smallest.itemsize}")  # Examples have the largest signed


def read(path: Path) -> Codes:
    """Reads a file of codes, and believes nothing that it says unchecked.

    Raises:
        PipelineError: it cannot be read, is not a file of codes, or contradicts itself.
    """
    with _opened(path) as archive:
        headers = _headers(path, archive)
        arrays = {name: _array(path, archive, name) for name in headers}
    codes = arrays["codes"]
    if codes.size and not 0 <= codes.min() <= codes.max() < 2**31:
        raise _refused(path, f"its codes are {codes.min()} to {codes.max()}; none is below 0")
    count = len(codes)
    if (sizes := arrays.get("sizes")) is None:
        sizes = np.zeros([count, 2], np.int32)
    if (names := arrays.get("names")) is None:
        names = np.array([f"{index:05d}.png" for index in range(count)], dtype=np.str_)
    integers = {name: arrays[name].astype(np.int64) for name in _OPTIONAL if name in arrays}
    if ("samples" in integers) != ("windows" in integers):
        raise _refused(path, "of `samples` and `windows` it has one without the other")
    return Codes(
        codes.astype(np.int32),
        names,
        sizes.astype(np.int32),
        int(arrays["release"]),
        str(arrays["codebook_sha256"]),
        **integers,
    )


def read_header(path: Path) -> Header:
    """What a file says of itself; checked as by `read`, but the codes stay on disk."""
    with _opened(path) as archive:
        headers = _headers(path, archive)
        (count, *code_shape), _ = headers["codes"]
        return Header(
            count,
            tuple(code_shape),
            int(_array(path, archive, "release")),
            str(_array(path, archive, "codebook_sha256")),
            "pixels_per_code" in headers,
        )


@contextlib.contextmanager
def _opened(path: Path):
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _refused(path, "it is no .npz file") from error
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror or error}") from error
    with archive:
        yield archive


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array, from the first bytes of each; nothing is allocated for it."""
    headers = {}
    there = set(archive.namelist())
    for name in _MEMBERS:
        if f"{name}.npy" in there:
            headers[name] = _header(path, archive, name)
    if missing := [name for name in _REQUIRED if name not in headers]:
        raise _refused(path, f"it holds no {missing[0]!r}")
    if "format" in headers and (found := int(_array(path, archive, "format"))) > FORMAT:
        raise PipelineError(
            f"{path}: has format {found} of a later vqvae, and this one reads up to {FORMAT}; "
            "use that vqvae"
        )
    memory = sum(
        math.prod(shape) * (4 if name == "codes" else dtype.itemsize)
        for name, (shape, dtype) in headers.items()
    )
    if memory > MAX_BYTES:
        raise PipelineError(
            f"{path}: its arrays would take {memory / 2**30:,.1f} GiB of memory, more than "
            f"{MAX_BYTES >> 30} GiB; split it into smaller files"
        )
    count = headers["codes"][0][0]
    for name in ("names", "sizes", "labels", "records", "samples", "windows"):
        if name in headers and headers[name][0][0] != count:
            raise _refused(path, f"it has {count} codes but {headers[name][0][0]} {name}")
    return headers


def _header(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    kinds, rank = _MEMBERS[name]
    try:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(path, f"{name!r} is compressed in a way that numpy does not use")
        with archive.open(member) as file:
            shape, dtype = _npy_header(file)
            announced = file.tell() + math.prod(shape) * dtype.itemsize
    except _DAMAGED as error:
        if isinstance(error, PipelineError):
            raise
        raise _refused(path, f"{name!r} is damaged") from error
    if dtype.kind not in kinds:
        raise _refused(path, f"{name!r} is of type {dtype}")
    if len(shape) not in ((3, 4) if rank is None else (rank,)) or (
        name in ("sizes", "pixels_per_code") and shape[-1] != 2
    ):
        raise _refused(path, f"{name!r} has the shape {shape}")
    if announced != member.file_size:  # numpy would allocate what the header announces
        raise _refused(path, f"{name!r} is damaged")
    return shape, dtype


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"no such version of .npy: {version}")
    if dtype.hasobject:
        raise ValueError("holds Python objects")
    return shape, dtype


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        with archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGED as error:
        raise _refused(path, f"{name!r} is damaged") from error


def _refused(path: Path, reason: str) -> PipelineError:
    return PipelineError(f"{path}: not a file of codes that vqvae wrote: {reason}")
