"""`vqvae data folder`: classes, splits, formats, and what cannot be told."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.commands.data import data as data_command
from pipeline.datasets.writer import write_dataset
from tests.fixtures.datasets import encode, examples_of, idx, pixels_of, refusal, write_idx


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 images each of two classes, and files that do not belong."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name in ("zebra", "ant"):
        (folder / name / "deeper").mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (5 + number % 3, 7, 3), np.uint8)
            kind, suffix = ("PNG", "png") if number % 2 else ("JPEG", "jpg")
            place = folder / name / "deeper" if number == 3 else folder / name
            (place / f"{number}.{suffix}").write_bytes(encode(pixels, kind))
    (folder / "README.txt").write_text("photos of animals")
    (folder / "ant" / ".DS_Store").write_bytes(b"junk")
    return folder


def test_folder_keeps_bytes_and_sorts_classes(photos: Path, tmp_path: Path) -> None:
    made = write_dataset("folder", tmp_path / "out", photos)
    assert made.manifest.label_names == ["ant", "zebra"]
    assert made.manifest.facts.height == (5, 7)
    assert made.manifest.facts.width == (7, 7)
    assert (made.manifest.skipped_files, made.skipped_example) == (1, "README.txt")
    wanted = [
        (path.read_bytes(), label)
        for label, name in enumerate(["ant", "zebra"])
        for path in (photos / name).rglob("*g")
    ]
    train, held_out = examples_of(made.path, "train"), examples_of(made.path, "eval")
    assert held_out
    assert sorted(train + held_out) == sorted(wanted)
    # Not class after class, which would defeat a shuffle buffer.
    assert len({label for _, label in train[:10]}) == 2


def test_folder_without_classes_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        pixels = np.full((4, 4), number, np.uint8)
        (tmp_path / "in" / f"{number}.png").write_bytes(encode(pixels, "PNG"))
    out = write_dataset("folder", tmp_path / "out", tmp_path / "in").path
    for split in ("train", "eval"):
        ((_, label),) = examples_of(out, split)
        assert label is None


def test_folder_split_survives_renames_and_holds_duplicates_together(
    photos: Path, tmp_path: Path
) -> None:
    before = {image for image, _ in examples_of(_made(photos, tmp_path / "a"), "eval")}
    for number, path in enumerate(sorted(photos.glob("*/*g"))):
        (path.parent / f"copy{number}{path.suffix}").write_bytes(path.read_bytes())
        path.rename(path.with_name(f"renamed{number}{path.suffix}"))
    out = _made(photos, tmp_path / "b")
    assert {image for image, _ in examples_of(out, "eval")} == before
    assert not before & {image for image, _ in examples_of(out, "train")}


def _made(source: Path, out: Path) -> Path:
    return write_dataset("folder", out, source).path


def test_folder_with_split_folders(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "val").mkdir(parents=True)
    photos.rename(root / "train")
    (root / "val" / "zebra").mkdir()
    image = encode(np.zeros((5, 5), np.uint8), "PNG")
    (root / "val" / "zebra" / "x.png").write_bytes(image)
    out = write_dataset("folder", tmp_path / "out", root).path
    assert examples_of(out, "eval") == [(image, 1)]
    assert len(examples_of(out, "train")) == 40


def test_folder_turns_other_formats_into_png(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    (source / "a.bmp").write_bytes(encode(pixels, "BMP"))
    (source / "b.webp").write_bytes(encode(pixels, "WEBP", lossless=True))
    (source / "c.tiff").write_bytes(encode(pixels, "TIFF", exif=exif))
    cmyk = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "TIFF")
    (source / "d.tiff").write_bytes(cmyk.getvalue())
    frames = [Image.fromarray(np.full((6, 9), value, np.uint8)) for value in (10, 200)]
    frames[0].save(source / "e.gif", save_all=True, append_images=frames[1:])
    truncated = encode(pixels, "WEBP")
    (source / "f.webp").write_bytes(truncated[: len(truncated) // 2])
    made = write_dataset("folder", tmp_path / "out", source)
    assert (made.manifest.skipped_files, made.skipped_example) == (1, "f.webp")
    everything = examples_of(made.path, "train") + examples_of(made.path, "eval")
    decoded = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image, _ in everything]
    assert all(image.startswith(b"\x89PNG") for image, _ in everything)
    wanted = [pixels, pixels, np.rot90(pixels, -1), pixels, np.full((6, 9, 3), 10, np.uint8)]
    key = lambda array: (array.shape, array.tobytes())  # noqa: E731
    assert sorted(map(key, decoded)) == sorted(map(key, wanted))


def test_folder_scales_wide_numbers_and_refuses_those_without_a_range(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    wide = (ramp * 65535).round()
    Image.fromarray(wide.astype(">u2")).save(source / "a.tif")
    Image.fromarray(wide.astype("<u2")).save(source / "b.tif")
    Image.fromarray(ramp.astype(np.float32)).save(source / "c.tif")
    (source / "d.pfm").write_bytes(b"Pf\n8 8\n-1.0\n" + ramp[::-1].astype("<f4").tobytes())
    out = write_dataset("folder", tmp_path / "out", source).path
    everything = examples_of(out, "train") + examples_of(out, "eval")
    assert len(everything) == 4
    for encoded, _ in everything:
        np.testing.assert_array_equal(pixels_of(encoded), wide)
    Image.fromarray((ramp * 255).astype(np.float32)).save(source / "e.tif")
    message = refusal("folder", tmp_path / "again", source)
    assert message.startswith(f"{source / 'e.tif'}: holds 32-bit floats from 0 to 255, but 0 to 1")
    assert not (tmp_path / "again").exists()


def _folder_of_classes(root: Path, classes: dict[str, int]) -> Path:
    """Images in folders such as `train/ant`."""
    for number, (folder, count) in enumerate(classes.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((4, 4), number * 20 + i, np.uint8)
            (root / folder / f"{i}.png").write_bytes(encode(pixels, "PNG"))
    return root


def test_class_names_are_compared_as_people_read_them(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    source = _folder_of_classes(
        tmp_path / "in",
        {
            f"train/{composed}": 2,
            f"train/{decomposed}": 3,
            "train/dog": 2,
            f"val/{decomposed}": 2,
            "val/dog": 2,
        },
    )
    result = CliRunner().invoke(
        data_command, ["folder", str(tmp_path / "out"), "--source", str(source)]
    )
    assert result.exit_code == 0
    assert result.stderr == ""
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["label_names"] == [composed, "dog"]
    labels = [label for _, label in examples_of(tmp_path / "out", "train")]
    assert sorted(labels) == [0] * 5 + [1] * 2
    assert sorted(label for _, label in examples_of(tmp_path / "out", "eval")) == [0, 0, 1, 1]


def test_a_class_that_only_one_split_has_is_said(tmp_path: Path) -> None:
    classes = {"train/ant": 2, "train/bee": 2, "val/ant": 2, "val/cat": 2}
    classes |= {f"train/x{number}": 1 for number in range(7)}
    source = _folder_of_classes(tmp_path / "in", classes)
    result = CliRunner().invoke(
        data_command, ["folder", str(tmp_path / "out"), "--source", str(source)]
    )
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "train has no image of the class 'cat', which will not be learned; add some, or remove it "
        "from eval",
        "eval has no image of 8 classes ('bee', 'x0', 'x1', 'x2', 'x3', …), which will not be "
        "judged; add some, or remove them from train",
    ]


def test_a_label_that_only_one_split_has_is_said_of_other_sources_too(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")
    labels = np.arange(50) % 9
    (source / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
    (source / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(20, 9, np.uint8)))
    made = write_dataset("idx", tmp_path / "out", source)
    assert made.lacking == {"train": ("9",), "eval": tuple(map(str, range(9)))}
    assert made.manifest.labelled


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "ant" / "1.png").rename(folder / "1.png"), "beside the class"),
        (lambda folder: (folder / "ant" / "loop").symlink_to("."), "a link back"),
    ],
)
def test_folder_that_cannot_be_told(photos: Path, tmp_path: Path, change, said) -> None:
    change(photos)
    assert said in refusal("folder", tmp_path / "out", photos)


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing here")
    message = refusal("folder", tmp_path / "out", tmp_path / "in")
    assert "holds 0 readable images (1 other files, such as notes.txt)" in message


def test_class_folders_that_are_no_utf8_are_read_as_latin1(tmp_path: Path, caplog) -> None:
    source = os.fsencode(tmp_path / "images")
    for folder in (b"caf\xe9", "été".encode()):
        os.makedirs(os.path.join(source, folder))
        for index in range(3):
            data = encode(np.full((4, 4), 10 * index + len(folder), np.uint8), "PNG")
            with open(os.path.join(source, folder, b"\xff%d.png" % index), "wb") as file:
                file.write(data)
    dataset = write_dataset("folder", tmp_path / "out", tmp_path / "images")
    assert list(dataset.manifest.label_names) == ["café", "été"]
    assert json.loads((tmp_path / "out" / "dataset.json").read_bytes())["label_names"][0] == "café"
    labels = [label for split in ("train", "eval") for _, label in examples_of(dataset.path, split)]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("the class folder 'caf\\xe9' is not UTF-8; read as Latin-1 it is called")
