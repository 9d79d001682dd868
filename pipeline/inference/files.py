"""Files to codes, codes to files and samples, with the models wherever they run.

What differs between images and recordings is asked of `ImageFiles` and `SoundFiles`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from components.errors import PipelineError
from pipeline.inference import codes_file
from pipeline.inference.codes_file import Codes
from pipeline.inference.errors import InvalidInput
from pipeline.inference.found_files import FoundFiles
from pipeline.inference.image_files import ImageFiles
from pipeline.inference.models import Models
from pipeline.inference.new_files import new_files
from pipeline.inference.sound_files import SoundFiles
from pipeline.inference.written import Written
from pipeline.progress import Progress

Kind = TypeVar("Kind", bound=Models)  # of models: on disk, or behind a server

# Images drawn in one call. An image depends on its place in the call, so this number is part of
# what a seed means.
DRAWN_TOGETHER = 64
_SHOWN = 10  # names of labels in a message


@dataclasses.dataclass(frozen=True)
class Draw:
    """How images, or sounds, are drawn.

    Attributes:
        label: class, -1 for any; or its name.
        seed: the same seed draws the same images.
        temperature: divides the logits; below 1 is likelier and less varied.
        top_k: draws among the k likeliest codes, 0 among all.
        top_p: draws among the fewest codes with this probability together, 1 among all.
        guidance: how clearly images show their label; 1 as drawn, above more, 0 not.
    """

    label: int | str = -1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0


def encode_files(models: Models, sources: Sequence[Path], out: Path, progress: Progress) -> Written:
    """Encodes files into a file of codes.

    Args:
        models: whose encoder is used.
        sources: images of any format that Pillow reads, or recordings of any that
            `components.audio` reads; and folders of them.
        out: file to write, see `pipeline.inference.codes_file`.
        progress: told of every batch.

    Raises:
        PipelineError: naming the first file that cannot be read or decoded, or the first folder
            without any that can; nothing is written.
    """
    found = FoundFiles(sources)
    release, sha256 = models.identity("encode")
    models = models.at(release)
    files = files_of(models, "encode")
    codes_file.write(out, _encoded(models, files, found, release, sha256, progress))
    return Written(len(found.paths), files.thing, found.left_out)


def decode_file(
    models: Models,
    source: Path,
    out: Path,
    progress: Progress,
    *,
    label: int | str | None,
    chosen: bool,
    force: bool,
) -> Written:
    """Decodes a file of codes into PNG or WAV files, named as what was encoded.

    Args:
        models: whose decoder is used if its codebook is that of the codes.
        source: file of codes.
        out: folder; its files are never replaced.
        progress: told of every image or recording.
        label: that a conditional decoder is given, or its name; None for those that the file has.
        chosen, force: see `models_for`.

    Raises:
        PipelineError: the file holds no codes, those of another codebook or another kind of data,
            codes of tiles for a server, or lacks labels; nothing is written.
    """
    stored = codes_file.read(source)
    models, note = models_for(
        models, source, stored.codebook_sha256, stored.release, chosen=chosen, force=force
    )
    files = files_of(models, "decode")
    names = files.names(stored)
    done = 0
    with new_files(out, names) as folder:
        try:
            labels = _labels(models, source, stored, label)
            for made in files.decoded(models, source, stored, labels):
                files.write(folder / names[done], made)
                done += 1
                progress("decoding", done, len(names))
        except InvalidInput as error:
            raise PipelineError(f"{source}: {error}") from error
    return Written(done, files.thing, note=note)


def convert_file(
    models: Models, source: Path, label: int | str, out: Path, progress: Progress
) -> None:
    """Encodes a recording, and decodes it as another speaker says it.

    Args:
        models: of a release of audio with a conditional decoder.
        source: the recording.
        label: the speaker, or the name.
        out: WAV file; one that is there is not replaced.
        progress: told of every batch.

    Raises:
        PipelineError: the release is another one, or the recording cannot be used; nothing is
            written.
    """
    release, sha256 = models.identity("encode")
    models = models.at(release)
    files = files_of(models, "encode")
    if isinstance(files, ImageFiles):
        raise PipelineError(f"release {release} is of images; `vqvae convert` is for recordings")
    if not models.takes_labels():
        raise _decodes_codes_alone(models)
    if os.path.lexists(out):
        raise PipelineError(f"{out}: is there already; name a new file")
    with new_files(out.parent, [out.name]) as folder:
        stored = _encoded(models, files, FoundFiles([source]), release, sha256, progress)
        try:
            labels = _labels(models, source, stored, label)
            (sound,) = files.decoded(models, source, stored, labels)
        except InvalidInput as error:
            raise PipelineError(f"{source}: {error}") from error
        files.write(folder / out.name, sound)


def files_of(models: Models, model: str) -> ImageFiles | SoundFiles:
    """What a release takes and gives, on files; `model` is one of its models that is at hand."""
    audio = models.audio(model)
    return ImageFiles() if audio is None else SoundFiles(audio)


def check_is_of_images(models: Models, model: str, option: str) -> None:
    """Refuses a release of audio for what is for images only.

    Raises:
        PipelineError: naming the release and the option.
    """
    if models.audio(model) is not None:
        raise PipelineError(
            f"release {models.identity(model).release} is of audio, and {option} is for images; "
            f"leave {option} out and name the files themselves"
        )


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


def sample_files(models: Models, out: Path, count: int, draw: Draw, progress: Progress) -> Written:
    """Draws images or sound and writes PNG or WAV files, and their codes as `codes.npz`.

    Raises:
        PipelineError: the label or the temperature is not one the model takes, or the files are
            there already; nothing is written.
    """
    release, sha256 = models.identity("sample")
    models = models.at(release)
    files = files_of(models, "sample")
    label = _number(models, draw.label)
    names = [f"{index:05d}{files.suffix}" for index in range(count)]
    codes: list[np.ndarray] = []
    done = 0
    with new_files(out, [*names, "codes.npz"]) as folder:
        while done < count:
            labels = [label] * min(DRAWN_TOGETHER, count - done)
            drawn = models.sample(
                labels,
                seed=_seed(draw.seed, len(codes)),
                temperature=draw.temperature,
                top_k=draw.top_k,
                top_p=draw.top_p,
                guidance=draw.guidance,
            )
            for made in files.drawn(drawn):
                files.write(folder / names[done], made)
                done += 1
            codes.append(drawn.codes)
            progress("drawing", done, count)
        stored = Codes(
            np.concatenate(codes),
            np.array(names, dtype=np.str_),
            release=release,
            codebook_sha256=sha256,
            labels=None if label == -1 else np.full([count], label, np.int64),
            **files.drawn_columns(drawn, count),
        )
        codes_file.write(folder / "codes.npz", stored)
    return Written(count, files.thing)


def _encoded(
    models: Models,
    files: ImageFiles | SoundFiles,
    found: FoundFiles,
    release: int,
    sha256: str,
    progress: Progress,
) -> Codes:
    """Codes of all files that can be used."""
    reading = files.reading(found)
    batches: list[np.ndarray] = []
    try:
        for encoded in models.encode_stream(reading.encoded(), files.kind):
            batches.append(codes_file.narrowest(encoded.codes))
            progress("encoding", len(found.paths), found.total)
    except InvalidInput as error:
        if error.index is None:
            raise
        raise PipelineError(f"{reading.path(error.index)}: {error}") from error
    if found.failure:
        raise found.failure
    codes = np.concatenate(batches)
    return Codes(codes, release=release, codebook_sha256=sha256, **reading.columns())


def _labels(
    models: Models, source: Path, stored: Codes, label: int | str | None
) -> np.ndarray | None:
    """What a conditional decoder is told, int32 [N]; None for any other."""
    if not models.takes_labels():
        if label is None:
            return None
        raise _decodes_codes_alone(models)
    if label is not None:
        return np.full([len(stored)], _number(models, label), np.int32)
    if stored.labels is None:
        raise PipelineError(
            f"{source}: has no labels, which the conditional decoder of release "
            f"{models.identity('decode').release} needs; name one with --speaker, -1 for none"
        )
    return stored.labels


def _number(models: Models, label: int | str) -> int:
    """A label, whether it is given by its number or its name.

    Raises:
        PipelineError: nobody knows the name.
    """
    if isinstance(label, int):
        return label
    names = list(models.label_names())
    if label in names:
        return names.index(label)
    known = f"there are {', '.join(names[:_SHOWN])}{', …' * (len(names) > _SHOWN)}"
    raise PipelineError(
        f"no label is called {label!r}: "
        + (known if names else "this release does not say what its labels are called")
        + "; give its number"
    )


def _decodes_codes_alone(models: Models) -> PipelineError:
    return PipelineError(
        f"release {models.identity('decode').release} has no conditional decoder "
        "(model.decoder.conditional), so it cannot decode for a --speaker; leave it out, or use "
        "another release"
    )


def _seed(seed: int, call: int) -> int:
    """The int64 seed of one call of several; that of the first is the seed itself, modulo 2^64."""
    spread = (seed + call * 0x9E3779B97F4A7C15) % 2**64  # far from the seeds that people choose
    return spread - 2**64 if spread >= 2**63 else spread
