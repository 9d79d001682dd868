"""`vqvae encode`, `decode`, `convert` and `sample`: released models on files.

The models are those of a release on disk or of a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.label import Label
from pipeline.commands.model_options import ModelOptions, model_options
from pipeline.commands.options import config_option, overrides_option
from pipeline.commands.progress_bar import ProgressBar
from pipeline.user_path import UserPath

if TYPE_CHECKING:
    from pipeline.config.beam import BeamConfig
    from pipeline.inference.bulk_job import Summary
    from pipeline.inference.written import Written


@click.command()
@click.argument("files", nargs=-1, type=UserPath(path_type=Path))
@click.option(
    "--data",
    type=UserPath(path_type=Path, file_okay=False),
    help="Folder of image TFRecords to encode, instead of FILES.",
)
@click.option(
    "--out",
    type=UserPath(path_type=Path),
    required=True,
    help="File of codes, .npz; with --data a new folder of them.",
)
@click.option(
    "--skip-unusable",
    is_flag=True,
    help="With --data: leave out records that cannot be used, and list them in skipped.jsonl.",
)
@click.option(
    "--tiles",
    is_flag=True,
    help="Keep images at their own sizes: encode each in overlapping tiles of the release's size.",
)
@model_options
@config_option
@overrides_option
def encode(
    files: tuple[Path, ...],
    data: Path | None,
    out: Path,
    skip_unusable: bool,
    tiles: bool,
    where: ModelOptions,
    config: str,
    overrides: tuple[str, ...],
) -> None:
    """Codes of FILES: images or recordings of any format, folders of them, or TFRecords.

    \b
    vqvae encode a.png photos/ --out codes.npz       every image, into one file of codes
    vqvae encode --tiles large.jpg --out codes.npz   at its own size, not the release's
    vqvae encode --data data/mine --out codes/       every record, into many, by Beam
    vqvae encode a.wav spoken/ --out codes.npz       every recording, with a release of audio

    Of a folder every image is taken, whatever its name and its format, as by `vqvae data folder`,
    and what is left out is named. A file of codes holds `codes` [N, h, w], the images' `names` and
    `sizes`, and the release and codebook they belong to. With --data there is one for every 10,000
    images, with their `labels` and, as `records`, their places in the TFRecord file; --config and
    --set say where Beam runs (`beam`), and what the features of the records are called
    (`data.features`), if not as in the data that the release was trained on.

    A release of audio takes recordings: WAV, FLAC, Ogg, MP3 and .g722, of any rate. Each is cut
    into windows, which are the rows of the file of codes; their `samples` and `windows` put them
    together again. --data and --tiles are for images.
    """
    if tiles and data is not None:
        raise click.UsageError("--tiles is for FILES; leave it or --data out.")
    if data is not None:
        _refuse_both(files, "FILES")
        _refuse_server(where, "--data")
        _print(_bulk_encode(where, data, out, skip_unusable, config, overrides), out)
        return
    if not files:
        raise click.UsageError("Name the FILES, or TFRecords with --data.")
    if skip_unusable:
        raise click.UsageError("--skip-unusable is for --data; leave the file out instead.")
    written = (_encode_pictures if tiles else _encode_files)(where, files, out)
    if written.left_out:
        from pipeline.inference.found_files import listed

        click.echo(listed(written.left_out), err=True)
    click.echo(f"{out}: codes of {_counted(written.count, written.thing)}")


@click.command()
@click.argument("codes", required=False, type=UserPath(path_type=Path, dir_okay=False))
@click.option(
    "--data",
    type=UserPath(path_type=Path, file_okay=False),
    help="Folder of codes that `vqvae encode --data` wrote, instead of CODES.",
)
@click.option(
    "--out",
    type=UserPath(path_type=Path),
    required=True,
    help="Folder of PNG or WAV files; with --data a new folder of TFRecords.",
)
@click.option(
    "--speaker",
    "--label",
    "label",
    type=Label(),
    help="Label for a conditional decoder, -1 for none; without, those in CODES.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Decode with the release that is chosen, even if its codebook is another one.",
)
@model_options
@config_option
@overrides_option
def decode(
    codes: Path | None,
    data: Path | None,
    out: Path,
    label: int | str | None,
    force: bool,
    where: ModelOptions,
    config: str,
    overrides: tuple[str, ...],
) -> None:
    """Images or sound of CODES, a file that `vqvae encode` or `vqvae sample` wrote.

    \b
    vqvae decode codes.npz --out decoded/              PNG or WAV files, named as what was encoded
    vqvae decode codes.npz --speaker 3 --out decoded/  as speaker 3 says it
    vqvae decode --data codes/ --out data/decoded      TFRecords of PNG images, with their labels

    A conditional decoder (`model.decoder.conditional`) needs labels: those in CODES, which `vqvae
    sample` writes, or one for all with --speaker.

    Codes mean something only to the codebook they were made with. Where the release has another
    one, that of an older release that is still there is used, and if there is none the codes are
    refused.
    """
    if data is not None:
        _refuse_both(codes, "CODES")
        if label is not None:
            raise click.UsageError("--speaker is for CODES; leave it or --data out.")
        _refuse_server(where, "--data")
        _print(_bulk_decode(where, data, out, force, config, overrides), out)
        return
    if codes is None:
        raise click.UsageError("Name a file of CODES, or a folder of them with --data.")
    with where.models("decode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files

        written = files.decode_file(
            models, codes, out, bar.update, label=label, chosen=where.has_chosen, force=force
        )
    said = (
        f"{_counted(written.count, written.thing)}{', decoded ' * bool(written.note)}{written.note}"
    )
    click.echo(f"{out}: {said}")


@click.command()
@click.argument("recording", type=UserPath(path_type=Path, dir_okay=False))
@click.option(
    "--speaker",
    "--label",
    "label",
    type=Label(),
    required=True,
    help="Who says it: a label of the data that the release was trained on.",
)
@click.option(
    "--out",
    type=UserPath(path_type=Path, dir_okay=False),
    required=True,
    help="New WAV file.",
)
@model_options
def convert(recording: Path, label: int | str, out: Path, where: ModelOptions) -> None:
    """RECORDING as another speaker says it, by a release of audio with a conditional decoder.

    \b
    vqvae convert a.wav --speaker 3 --out b.wav

    The same as `vqvae encode` and then `vqvae decode --speaker`.
    """
    with where.models("encode", "decode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files

        files.convert_file(models, recording, label, out, bar.update)
    click.echo(f"{out}: {recording.name} as speaker {label}")


@click.command()
@click.option(
    "--out", type=UserPath(path_type=Path), required=True, help="Folder of PNG or WAV files."
)
@click.option("--count", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--label",
    "--speaker",
    "label",
    type=Label(),
    default=-1,
    show_default=True,
    help="Class or speaker; -1 is any.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--temperature", type=float, default=1.0, show_default=True)
@click.option(
    "--top-k",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Draw among the k likeliest codes only; 0 is all.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0.0, max=1.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Draw among the fewest codes that have this probability together; 1 is all.",
)
@click.option(
    "--guidance",
    type=click.FloatRange(min=0.0),
    default=1.0,
    show_default=True,
    help="How clearly --label shows: 1 as drawn, 2 or 3 more clearly.",
)
@model_options
def sample(
    out: Path,
    count: int,
    label: int | str,
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    guidance: float,
    where: ModelOptions,
) -> None:
    """New images or sounds drawn from the prior, and their codes in `codes.npz`.

    The same seed draws the same, from disk and from a server. A release of audio draws sounds of
    one window.
    """
    if guidance != 1.0 and label == -1:
        raise click.UsageError("--guidance needs a --label; there is nothing else to show.")
    with where.models("sample") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files

        draw = files.Draw(label, seed, temperature, top_k, top_p, guidance)
        written = files.sample_files(models, out, count, draw, bar.update)
    click.echo(f"{out}: {_counted(written.count, written.thing)}")


def _encode_files(where: ModelOptions, sources: Sequence[Path], out: Path) -> Written:
    with where.models("encode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files

        return files.encode_files(models, sources, out, bar.update)


def _encode_pictures(where: ModelOptions, images: Sequence[Path], out: Path) -> Written:
    _refuse_server(where, "--tiles")
    with where.on_disk("encode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files, pictures

        files.check_is_of_images(models, "encode", "--tiles")
        return pictures.encode_pictures(models, images, out, bar.update)


def _bulk_encode(where, data, out, skip_unusable, config, overrides) -> Summary:
    from pipeline.config.config import load

    settings = load(config, overrides)
    with where.on_disk("encode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference import files
        from pipeline.inference.bulk_encode import encode_records

        files.check_is_of_images(models, "encode", "--data")
        beam_args = _beam_arguments(settings.beam, where, data, out)
        names = settings.data.features
        return encode_records(
            models.release, data, out, beam_args, skip_unusable, bar.update, names
        )


def _bulk_decode(where, data, out, force, config, overrides) -> Summary:
    from pipeline.config.config import load

    settings = load(config, overrides)
    with where.on_disk("decode") as (models, errors), ProgressBar(errors, every=1) as bar:
        from pipeline.inference.bulk_decode import decode_codes

        beam_args = _beam_arguments(settings.beam, where, data, out)
        return decode_codes(
            models, data, out, beam_args, bar.update, chosen=where.has_chosen, force=force
        )


def _beam_arguments(beam: BeamConfig, where: ModelOptions, data: Path, out: Path) -> list[str]:
    """Beam's arguments, once it is known that its workers see what they need."""
    from pipeline.engines import preflight
    from pipeline.engines.arguments import beam_arguments

    preflight.check_paths(beam, {"--data": data, "--out": out, "--store": where.release_store})
    return beam_arguments(beam)


def _print(summary: Summary, out: Path) -> None:
    rate = summary.images / max(summary.seconds, 1e-9)
    click.echo(
        f"{out}: {_counted(summary.images)} in {summary.files} file{'s' * (summary.files != 1)}"
        f"{', decoded ' * bool(summary.note)}{summary.note}, "
        f"{summary.seconds:.1f} s ({rate:,.0f} images/s)"
    )
    if summary.skipped:
        click.echo(
            f"left out {summary.skipped:,} unusable record{'s' * (summary.skipped != 1)}, such as "
            f"{summary.skipped_example}; all of them are in {out / 'skipped.jsonl'}"
        )


def _refuse_both(given: object, name: str) -> None:
    if given:
        raise click.UsageError(f"Either {name} or --data, not both.")


def _refuse_server(where: ModelOptions, option: str) -> None:
    if where.server:
        raise click.UsageError(f"{option} uses a release on disk; leave --server out.")


def _counted(count: int, thing: str = "image") -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"
