"""Images to codes, codes to images and samples, on files, with the models wherever they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf

from components.errors import PipelineError
from models import images as image_ops
from pipeline.inference import codes_file, pictures
from pipeline.inference.codes_file import Codes
from pipeline.inference.errors import InvalidInput
from pipeline.inference.found_images import FoundImages, NotAnImage
from pipeline.inference.models import Models
from pipeline.inference.png_folder import new_files, png_names, write_png
from pipeline.progress import Progress

Kind = TypeVar("Kind", bound=Models)  # of models: on disk, or behind a server

# Images drawn in one call. An image depends on its place in the call, so this number is part of
# what a seed means.
DRAWN_TOGETHER = 64


@dataclasses.dataclass(frozen=True)
class Draw:
    """How images are drawn.

    Attributes:
        label: class, -1 for any.
        seed: the same seed draws the same images.
        temperature: divides the logits; below 1 is likelier and less varied.
        top_k: draws among the k likeliest codes, 0 among all.
        top_p: draws among the fewest codes with this probability together, 1 among all.
        guidance: how clearly images show their label; 1 as drawn, above more, 0 not.
    """

    label: int = -1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0


def encode_files(
    models: Models, sources: Sequence[Path], out: Path, progress: Progress
) -> tuple[int, list[NotAnImage]]:
    """Encodes image files into a file of codes.

    Args:
        models: whose encoder is used.
        sources: image files of any format that Pillow reads, and folders of them.
        out: file to write, see `pipeline.inference.codes_file`.
        progress: told of every batch.

    Returns:
        the number of images, and the files of the folders that are none.

    Raises:
        PipelineError: naming the first file that cannot be read or decoded, or the first folder
            without an image; nothing is written.
    """
    found = FoundImages(sources)
    release, sha256 = models.identity("encode")
    sizes: list[tuple[int, int]] = []
    batches: list[np.ndarray] = []
    done = 0
    try:
        for encoded in models.at(release).encode_stream(_measured(found.read(), sizes)):
            batches.append(codes_file.narrowest(encoded.codes))
            done += len(encoded.codes)
            progress("encoding", done, found.total)
    except InvalidInput as error:
        if error.index is None:
            raise
        raise PipelineError(f"{found.paths[error.index]}: {error}") from error
    if found.failure:
        raise found.failure
    codes = np.concatenate(batches)
    names = np.array(found.names(), dtype=np.str_)
    codes_file.write(out, Codes(codes, names, np.array(sizes, np.int32), release, sha256))
    return len(codes), found.left_out


def decode_file(
    models: Models, source: Path, out: Path, progress: Progress, *, chosen: bool, force: bool
) -> tuple[int, str]:
    """Decodes a file of codes into PNG files, named as the images were.

    Args:
        models: whose decoder is used if its codebook is that of the codes.
        source: file of codes.
        out: folder; its files are never replaced.
        progress: told of every batch.
        chosen, force: see `models_for`.

    Returns:
        the number of images, and what there is to say about the release that was used.

    Raises:
        PipelineError: the file holds no codes, those of another codebook, or codes of tiles for
            a server; nothing is written.
    """
    stored = codes_file.read(source)
    models, note = models_for(
        models, source, stored.codebook_sha256, stored.release, chosen=chosen, force=force
    )
    names = png_names(stored.names.tolist())
    done = 0
    if stored.pixels_per_code is None:
        decoded = models.decode_stream(stored.codes)
    else:
        decoded = pictures.decode_stream(models, source, stored)
    with new_files(out, names) as folder:
        try:
            for images in decoded:
                for image in images:
                    write_png(folder / names[done], image)
                    done += 1
                progress("decoding", done, len(names))
        except InvalidInput as error:
            raise PipelineError(f"{source}: {error}") from error
    return done, note


def models_for(
    models: Kind, source: Path, codebook_sha256: str, release: int, *, chosen: bool, force: bool
) -> tuple[Kind, str]:
    """The models that can decode codes of a codebook, of one release.

    Args:
        models: are used if they have the codebook.
        source: where the codes are from.
        codebook_sha256, release: codebook of the codes, and the release that made them.
        chosen: the user asked for this very release, so that no other one is looked for.
        force: use `models` whatever their codebook.

    Returns:
        the models, and what there is to say if they are not simply those that were given.

    Raises:
        PipelineError: there are none.
    """
    own = models.identity("decode")
    if own.codebook_sha256 == codebook_sha256:
        return models.at(own.release), ""
    if force:
        return models.at(own.release), (
            f"with release {own.release} as --force says, though the codes are of the codebook "
            f"of release {release}"
        )
    if not chosen and (found := models.of_codebook(codebook_sha256, release)):
        used = found.identity("decode").release
        return found, (
            f"with release {used}, whose codebook they are of; release {own.release} has another"
        )
    mend = (
        f"decode with --version {release}"
        if chosen
        else f"make release {release} available again or encode the images anew"
    )
    raise PipelineError(
        f"{source}: its codes belong to the codebook of release {release}, not to that of release "
        f"{own.release}; {mend}, or use --force"
    )


def sample_files(models: Models, out: Path, count: int, draw: Draw, progress: Progress) -> int:
    """Draws images and writes them as PNG files, and their codes as `codes.npz`.

    Returns:
        the number of images.

    Raises:
        PipelineError: the label or the temperature is not one the model takes, or the files are
            there already; nothing is written.
    """
    release, sha256 = models.identity("sample")
    models = models.at(release)
    names = [f"{index:05d}.png" for index in range(count)]
    codes: list[np.ndarray] = []
    done = 0
    with new_files(out, [*names, "codes.npz"]) as folder:
        while done < count:
            labels = [draw.label] * min(DRAWN_TOGETHER, count - done)
            drawn = models.sample(
                labels,
                seed=_seed(draw.seed, len(codes)),
                temperature=draw.temperature,
                top_k=draw.top_k,
                top_p=draw.top_p,
                guidance=draw.guidance,
            )
            for image in drawn.images:
                write_png(folder / names[done], image)
                done += 1
            codes.append(drawn.codes)
            progress("drawing", done, count)
        size = drawn.images.shape[1:3]
        stored = Codes(
            np.concatenate(codes),
            np.array(names, dtype=np.str_),
            np.tile(np.array(size, np.int32), [count, 1]),
            release,
            sha256,
            labels=None if draw.label == -1 else np.full([count], draw.label, np.int64),
        )
        codes_file.write(folder / "codes.npz", stored)
    return count


def _measured(images: Iterable[bytes], sizes: list[tuple[int, int]]) -> Iterator[bytes]:
    """Passes images on, and notes the height and width of each."""
    for image in images:
        try:
            height, width = image_ops.upright_sizes(tf.constant([image])).numpy()[0]
        except tf.errors.InvalidArgumentError:
            height = width = 0  # the encoder will say what is wrong with it
        sizes.append((int(height), int(width)))
        yield image


def _seed(seed: int, call: int) -> int:
    """The int64 seed of one call of several; that of the first is the seed itself, modulo 2^64."""
    spread = (seed + call * 0x9E3779B97F4A7C15) % 2**64  # far from the seeds that people choose
    return spread - 2**64 if spread >= 2**63 else spread
