"""The models of a release on files: images to codes, codes to images, samples."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from components.errors import PipelineError
from components.release import Release
from pipeline import model_errors

_BATCH = 256


def encode_files(release: Release, images: Sequence[Path], out: Path) -> int:
    """Encodes image files into a .npz of codes.

    Args:
        release: whose encoder is used.
        images: PNG or JPEG files.
        out: file with `codes` int32 [N, h, w], `names` [N], `release` and `codebook_sha256`.

    Returns:
        the number of images.

    Raises:
        PipelineError: naming the first file that cannot be read or decoded.
    """
    encode = _load(release, "encode")
    batches = []
    for start in range(0, len(images), _BATCH):
        paths = images[start : start + _BATCH]
        contents = [_read(path) for path in paths]
        try:
            batches.append(encode(images=tf.constant(contents))["codes"].numpy())
        except tf.errors.InvalidArgumentError as error:
            raise PipelineError(_first_bad(encode, paths, contents)) from error
    codes = np.concatenate(batches)
    _save(out, codes, release, names=np.array([path.name for path in images]))
    return len(codes)


def decode_file(release: Release, source: Path, out: Path) -> list[Path]:
    """Decodes a .npz of codes into PNG files, named as the images were.

    Raises:
        PipelineError: the file holds no codes, or those of another codebook.
    """
    try:
        with np.load(source, allow_pickle=False) as stored:
            codes, sha256 = stored["codes"], str(stored["codebook_sha256"])
            names = stored["names"] if "names" in stored else _numbered(len(codes))
            version = int(stored["release"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{source}: not a file of codes that vqvae wrote ({error})") from error
    if sha256 != release.manifest["codebook_sha256"]:
        raise PipelineError(
            f"{source}: its codes belong to the codebook of release {version}, not to that of "
            f"release {release.version}; decode with --version {version}"
        )
    decode = _load(release, "decode")
    images = [
        decode(codes=tf.constant(codes[start : start + _BATCH], tf.int32))["images"].numpy()
        for start in range(0, len(codes), _BATCH)
    ]
    return _write_images(out, np.concatenate(images), names)


@dataclasses.dataclass(frozen=True)
class Draw:
    """How images are drawn.

    Attributes:
        label: class, -1 for any.
        seed: the same seed draws the same images.
        temperature: divides the logits; below 1 is likelier and less varied.
        top_k: draws among the k likeliest codes, 0 among all.
        top_p: draws among the fewest codes with this probability together, 1 among all.
    """

    label: int = -1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def sample_images(release: Release, out: Path, count: int, draw: Draw) -> list[Path]:
    """Draws images and writes them as PNG files, and their codes as `codes.npz`.

    Raises:
        PipelineError: the label or the temperature is not one the model takes.
    """
    try:
        drawn = _load(release, "sample", "controlled")(
            labels=tf.fill([count], draw.label),
            seed=tf.constant(draw.seed, tf.int64),
            temperature=tf.constant(draw.temperature, tf.float32),
            top_k=tf.constant(draw.top_k, tf.int32),
            top_p=tf.constant(draw.top_p, tf.float32),
        )
    except tf.errors.InvalidArgumentError as error:
        raise PipelineError(model_errors.message(error)) from error
    names = _numbered(count)
    written = _write_images(out, drawn["images"].numpy(), names)
    _save(out / "codes.npz", drawn["codes"].numpy(), release, names=names)
    return written


def _load(release: Release, model: str, name: str = "serving_default"):
    loaded = tf.saved_model.load(str(release.path(model)))
    signature = loaded.signatures[name]
    signature.keep_alive = loaded  # a signature alone does not keep its variables
    return signature


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from error


def _first_bad(encode, paths: Sequence[Path], contents: Sequence[bytes]) -> str:
    for path, content in zip(paths, contents, strict=True):
        try:
            encode(images=tf.constant([content]))
        except tf.errors.InvalidArgumentError as error:
            return f"{path}: {model_errors.message(error)}"
    return f"one of {len(paths)} images cannot be decoded"


def _numbered(count: int) -> np.ndarray:
    return np.array([f"{index:05d}.png" for index in range(count)])


def _write_images(out: Path, images: np.ndarray, names) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for image, name in zip(images, names, strict=True):
        # A name from a file is only ever a name below `out`.
        path = out / Path(str(name)).with_suffix(".png").name
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
        written.append(path)
    return written


def _save(out: Path, codes: np.ndarray, release: Release, names: np.ndarray) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "wb") as file:
        np.savez_compressed(
            file,
            codes=codes,
            names=names,
            release=np.int64(release.version),
            codebook_sha256=np.array(release.manifest["codebook_sha256"]),
        )
