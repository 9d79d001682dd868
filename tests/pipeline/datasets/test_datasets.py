"""Data sets: what is written, what is refused, and that nothing half-written is ever there."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.commands.data import data as data_command
from pipeline.config.config import ConfigError
from pipeline.datasets.staging import staging
from pipeline.datasets.writer import write_dataset


def _files(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _examples(folder: Path, split: str) -> list[tuple[bytes, int | None]]:
    """(image, label) of a split, read the way TensorFlow reads it."""
    import tensorflow as tf

    found = []
    paths = sorted(str(path) for path in (folder / split).glob("*.tfrecord.gz"))
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        assert set(features) <= {"image", "label", "source"}
        (image,) = features["image"].bytes_list.value
        label = features["label"].int64_list.value[0] if "label" in features else None
        found.append((image, label))
    return found


def _pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def _encode(pixels: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def _write_idx(folder: Path, train: int = 50, test: int = 20, side: int = 6) -> Path:
    """A folder of IDX files, half of them compressed."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for stem, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, side, side + 1), np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(_idx(labels))
    return folder


def _refusal(*arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        write_dataset(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- digits -------------------------------------------------------------------------------------


def test_digits_hold_scikit_learns_pixels(digits_data: Path) -> None:
    from sklearn.datasets import load_digits

    train, held_out = _examples(digits_data, "train"), _examples(digits_data, "eval")
    bunch = load_digits()
    wanted = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    written = sorted((_pixels(image).tobytes(), label) for image, label in train + held_out)
    assert written == sorted(
        (pixels.tobytes(), int(label)) for pixels, label in zip(wanted, bunch.target, strict=True)
    )
    assert abs(len(held_out) - 180) <= 10
    shares = np.bincount([label for _, label in held_out]) / np.bincount(bunch.target)
    assert np.all(np.abs(shares - 0.1) < 0.01)


def test_two_makes_are_the_same_bytes(digits_data: Path, tmp_path: Path) -> None:
    again = write_dataset("digits", tmp_path / "again")
    assert again.made
    assert _files(again.path) == _files(digits_data)


def test_manifest_describes_the_files(digits_data: Path) -> None:
    manifest = json.loads((digits_data / "dataset.json").read_text())
    assert manifest["name"] == "digits"
    assert manifest["label_names"] == [str(digit) for digit in range(10)]
    assert sum(manifest["images"].values()) == 1797
    assert manifest["height"] == manifest["width"] == [8, 8]
    for shard in manifest["shards"]:
        assert (digits_data / shard["file"]).stat().st_size == shard["bytes"]


# --- the command --------------------------------------------------------------------------------


def test_command_makes_then_leaves_alone(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "digits"
    first = CliRunner().invoke(data_command, ["digits", str(out)])
    assert first.exit_code == 0
    assert "1,612 train and 185 eval images of 8×8, 10 classes" in first.stdout
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    second = CliRunner().invoke(data_command, ["digits", str(out)])
    assert second.exit_code == 0
    assert "already there" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert os.listdir(out.parent) == ["digits"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mnist"], "unknown data set 'mnist'; known: digits, fashion-mnist"),
        (["tfds:"], "unknown data set"),
        (["idx"], "--source DIR"),
        (["folder"], "--source DIR"),
        (["folder", "--source", "/no/such"], "/no/such: no such folder"),
        (["digits", "--source", "/usr"], "digits are embedded"),
    ],
)
def test_command_explains_wrong_use_in_one_line(tmp_path: Path, arguments, said) -> None:
    name, *options = arguments
    result = CliRunner().invoke(data_command, [name, str(tmp_path / "out"), *options])
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
    assert len(str(result.exception).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.commands.data import data; "
        "data(['--help'], standalone_mode=False); "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'sklearn', 'numpy', 'pydantic')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fashion-mnist" in done.stdout


def test_missing_optional_package_names_the_extra(tmp_path: Path) -> None:
    # A module that is None in sys.modules imports as one that is not installed.
    code = (
        "import sys; sys.modules['tensorflow_datasets'] = None; "
        "from pipeline.commands.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "tfds:mnist", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "pip install '.[datasets]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- what is in the way -------------------------------------------------------------------------


def test_other_contents_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    assert "thesis.tex" in _refusal("digits", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    assert "is a file" in _refusal("digits", tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


def test_another_data_set_is_not_overwritten(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source")
    out = tmp_path / "out"
    write_dataset("idx", out, source)
    before = _files(out)
    assert "holds the data set idx: 50 train" in _refusal("digits", out)
    labels = source / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\7")
    assert "other images" in _refusal("idx", out, source)
    assert _files(out) == before


def test_damaged_data_set_is_named(tmp_path: Path) -> None:
    out = write_dataset("digits", tmp_path / "out").path
    (out / "eval" / "00000.tfrecord.gz").unlink()
    assert "eval/00000.tfrecord.gz is missing" in _refusal("digits", out)


def test_empty_folder_and_link_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert write_dataset("digits", tmp_path / "link").made
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "dataset.json").is_file()


def test_current_folder_and_the_source_itself_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "current folder" in _refusal("digits", ".")
    source = _write_idx(tmp_path / "source")
    assert "lies in the source" in _refusal("idx", source / "out", source)


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in _refusal("digits", tmp_path / "file" / "out")


# --- IDX ----------------------------------------------------------------------------------------


def test_idx_round_trip(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source")
    out = write_dataset("idx", tmp_path / "out", source, images_per_shard=20).path
    assert sorted(path.name for path in (out / "train").iterdir()) == [
        "00000.tfrecord.gz",
        "00001.tfrecord.gz",
        "00002.tfrecord.gz",
    ]
    raw = gzip.decompress((source / "train-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw[16:], np.uint8).reshape(50, 6, 7)
    labels = (source / "train-labels-idx1-ubyte").read_bytes()[8:]
    written = _examples(out, "train")
    assert [label for _, label in written] == list(labels)
    for (encoded, _), pixels in zip(written, images, strict=True):
        np.testing.assert_array_equal(_pixels(encoded), pixels)
    assert len(_examples(out, "eval")) == 20


def test_idx_is_the_same_data_uncompressed(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source")
    out = write_dataset("idx", tmp_path / "out", source).path
    for path in source.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert not write_dataset("idx", out, source).made


def test_idx_colour(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source", train=3)
    colour = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
    (source / "train-images-idx3-ubyte.gz").unlink()
    (source / "train-images-idx4-ubyte").write_bytes(_idx(colour))
    out = write_dataset("idx", tmp_path / "out", source).path
    for (encoded, _), pixels in zip(_examples(out, "train"), colour, strict=True):
        np.testing.assert_array_equal(_pixels(encoded), pixels)


_IMAGES = "train-images-idx3-ubyte.gz"
_LABELS = "t10k-labels-idx1-ubyte"
_GOOD = _idx(np.zeros((50, 6, 7), np.uint8))


@pytest.mark.parametrize(
    ("file", "contents", "said"),
    [
        (_LABELS, None, f"{_LABELS}[.gz] is missing"),
        (_LABELS, b"", "not an IDX file: it starts with nothing"),
        (_LABELS, b"<html>", "not an IDX file: it starts with 3c 68 74 6d"),
        (_LABELS, b"\0\0\x08\x01\0\0", "ends within its header"),
        (_LABELS, _idx(np.zeros(20, np.uint8))[:-1], "ends after 19: it is truncated"),
        (_LABELS, _idx(np.zeros(20, np.uint8)) + b"\0", "holds more"),
        (_LABELS, _idx(np.zeros(19, np.uint8)), "19 labels, but t10k-images-idx3-ubyte.gz"),
        (_LABELS, _idx(np.zeros((20, 1), np.uint8)), "with 2 dimensions"),
        (_IMAGES, b"\0\0\x0d\x03" + _GOOD[4:], "type 0x0d"),
        (_IMAGES, _idx(np.zeros((0, 6, 7), np.uint8)), "holds nothing"),
        (_IMAGES, b"\0\0\x08\x03" + b"\xff" * 12, "no shape of images"),
        (_IMAGES, gzip.compress(_GOOD, mtime=0)[:-9], "gzip stream is truncated"),
        (_IMAGES, gzip.compress(_GOOD, mtime=0)[:-8] + b"\1" * 8, "CRC check failed"),
        ("train-images.idx3-ubyte", _GOOD, "are both train images"),
    ],
)
def test_idx_damage_names_the_file(tmp_path: Path, file, contents, said) -> None:
    source = _write_idx(tmp_path / "source")
    if contents is None:
        (source / file).unlink()
    else:
        (source / file).write_bytes(contents)
    message = _refusal("idx", tmp_path / "out", source)
    assert said in message
    assert file in message
    assert os.listdir(tmp_path) == ["source"]


def test_fashion_mnist_from_a_source_knows_its_labels(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source")
    made = write_dataset("fashion-mnist", tmp_path / "out", source)
    assert made.manifest.label_names[9] == "Ankle boot"


def test_fashion_mnist_absent_names_the_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.datasets.idx.FASHION_MNIST", tmp_path / "absent")
    message = _refusal("fashion-mnist", tmp_path / "out")
    assert "apt-get install dataset-fashion-mnist" in message
    assert "--source" in message


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        source = _write_idx(tmp_path / f"source{count}", train=count, side=16)
        tracemalloc.start()
        write_dataset("idx", tmp_path / f"out{count}", source, images_per_shard=500)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    peak(10)  # imports
    assert peak(6_000) < peak(2_000) + (1 << 20)


# --- folders of images --------------------------------------------------------------------------


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
            (place / f"{number}.{suffix}").write_bytes(_encode(pixels, kind))
    (folder / "README.txt").write_text("photos of animals")
    (folder / "ant" / ".DS_Store").write_bytes(b"junk")
    return folder


def test_folder_keeps_bytes_and_sorts_classes(photos: Path, tmp_path: Path) -> None:
    made = write_dataset("folder", tmp_path / "out", photos)
    assert made.manifest.label_names == ["ant", "zebra"]
    assert made.manifest.height == (5, 7)
    assert made.manifest.width == (7, 7)
    assert (made.manifest.skipped_files, made.skipped_example) == (1, "README.txt")
    wanted = [
        (path.read_bytes(), label)
        for label, name in enumerate(["ant", "zebra"])
        for path in (photos / name).rglob("*g")
    ]
    train, held_out = _examples(made.path, "train"), _examples(made.path, "eval")
    assert held_out
    assert sorted(train + held_out) == sorted(wanted)
    # Not class after class, which would defeat a shuffle buffer.
    assert len({label for _, label in train[:10]}) == 2


def test_folder_without_classes_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        pixels = np.full((4, 4), number, np.uint8)
        (tmp_path / "in" / f"{number}.png").write_bytes(_encode(pixels, "PNG"))
    out = write_dataset("folder", tmp_path / "out", tmp_path / "in").path
    for split in ("train", "eval"):
        ((_, label),) = _examples(out, split)
        assert label is None


def test_folder_split_survives_renames_and_holds_duplicates_together(
    photos: Path, tmp_path: Path
) -> None:
    before = {image for image, _ in _examples(_made(photos, tmp_path / "a"), "eval")}
    for number, path in enumerate(sorted(photos.glob("*/*g"))):
        (path.parent / f"copy{number}{path.suffix}").write_bytes(path.read_bytes())
        path.rename(path.with_name(f"renamed{number}{path.suffix}"))
    out = _made(photos, tmp_path / "b")
    assert {image for image, _ in _examples(out, "eval")} == before
    assert not before & {image for image, _ in _examples(out, "train")}


def _made(source: Path, out: Path) -> Path:
    return write_dataset("folder", out, source).path


def test_folder_with_split_folders(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "val").mkdir(parents=True)
    photos.rename(root / "train")
    (root / "val" / "zebra").mkdir()
    image = _encode(np.zeros((5, 5), np.uint8), "PNG")
    (root / "val" / "zebra" / "x.png").write_bytes(image)
    out = write_dataset("folder", tmp_path / "out", root).path
    assert _examples(out, "eval") == [(image, 1)]
    assert len(_examples(out, "train")) == 40


def test_folder_turns_other_formats_into_png(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    (source / "a.bmp").write_bytes(_encode(pixels, "BMP"))
    (source / "b.webp").write_bytes(_encode(pixels, "WEBP", lossless=True))
    (source / "c.tiff").write_bytes(_encode(pixels, "TIFF", exif=exif))
    cmyk = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "TIFF")
    (source / "d.tiff").write_bytes(cmyk.getvalue())
    frames = [Image.fromarray(np.full((6, 9), value, np.uint8)) for value in (10, 200)]
    frames[0].save(source / "e.gif", save_all=True, append_images=frames[1:])
    truncated = _encode(pixels, "WEBP")
    (source / "f.webp").write_bytes(truncated[: len(truncated) // 2])
    made = write_dataset("folder", tmp_path / "out", source)
    assert (made.manifest.skipped_files, made.skipped_example) == (1, "f.webp")
    everything = _examples(made.path, "train") + _examples(made.path, "eval")
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
    everything = _examples(out, "train") + _examples(out, "eval")
    assert len(everything) == 4
    for encoded, _ in everything:
        np.testing.assert_array_equal(_pixels(encoded), wide)
    Image.fromarray((ramp * 255).astype(np.float32)).save(source / "e.tif")
    message = _refusal("folder", tmp_path / "again", source)
    assert message.startswith(f"{source / 'e.tif'}: holds 32-bit floats from 0 to 255, but 0 to 1")
    assert not (tmp_path / "again").exists()


def _folder_of_classes(root: Path, classes: dict[str, int]) -> Path:
    """Images in folders such as `train/ant`."""
    for number, (folder, count) in enumerate(classes.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((4, 4), number * 20 + i, np.uint8)
            (root / folder / f"{i}.png").write_bytes(_encode(pixels, "PNG"))
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
    labels = [label for _, label in _examples(tmp_path / "out", "train")]
    assert sorted(labels) == [0] * 5 + [1] * 2
    assert sorted(label for _, label in _examples(tmp_path / "out", "eval")) == [0, 0, 1, 1]


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
    source = _write_idx(tmp_path / "source")
    labels = np.arange(50) % 9
    (source / "train-labels-idx1-ubyte").write_bytes(_idx(labels.astype(np.uint8)))
    (source / "t10k-labels-idx1-ubyte").write_bytes(_idx(np.full(20, 9, np.uint8)))
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
    assert said in _refusal("folder", tmp_path / "out", photos)


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing here")
    message = _refusal("folder", tmp_path / "out", tmp_path / "in")
    assert "holds 0 readable images (1 other files, such as notes.txt)" in message


# --- kills and races ----------------------------------------------------------------------------


def test_two_writers_at_once(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source", train=2000)
    results = []
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        results.append(write_dataset("idx", tmp_path / "out", source))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.made for result in results) == [False, True]
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]
    assert _files(tmp_path / "out") == _files(write_dataset("idx", tmp_path / "o2", source).path)


def test_leavings_of_the_dead_are_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    dead = tmp_path / ".out.partial-0badcafe"
    (dead / "train").mkdir(parents=True)
    with staging(tmp_path / "out") as alive:
        assert not dead.exists()
        write_dataset("digits", tmp_path / "out")
        assert alive.is_dir()
    assert os.listdir(tmp_path) == ["out"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source")

    def stop(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("writing", 30):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset("idx", tmp_path / "out", source, progress=stop)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.slow
def test_killed_at_any_moment_nothing_partial_is_visible(tmp_path: Path) -> None:
    source = _write_idx(tmp_path / "source", train=20_000, side=20)
    wanted = _files(write_dataset("idx", tmp_path / "wanted", source).path)
    out = tmp_path / "work" / "out"
    command = [sys.executable, "-m", "pipeline", "data", "idx", out, "--source", source]

    def run() -> subprocess.Popen:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    assert run().wait() == 0
    whole = time.monotonic() - began
    assert _files(out) == wanted

    rng = random.Random(0)
    interrupted = 0
    for _ in range(8):
        for name in os.listdir(out) if out.exists() else ():
            assert name in ("train", "eval", "dataset.json")
        subprocess.run(["rm", "-rf", out], check=True)
        process = run()
        time.sleep(rng.uniform(0.2, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        interrupted += process.wait() != 0
        # Nothing, or all of it.
        assert not out.exists() or _files(out) == wanted
    assert interrupted >= 4

    assert run().wait() == 0
    assert _files(out) == wanted
    assert os.listdir(out.parent) == ["out"]


def test_class_folders_that_are_no_utf8_are_read_as_latin1(tmp_path: Path, caplog) -> None:
    source = os.fsencode(tmp_path / "images")
    for folder in (b"caf\xe9", "été".encode()):
        os.makedirs(os.path.join(source, folder))
        for index in range(3):
            data = _encode(np.full((4, 4), 10 * index + len(folder), np.uint8), "PNG")
            with open(os.path.join(source, folder, b"\xff%d.png" % index), "wb") as file:
                file.write(data)
    dataset = write_dataset("folder", tmp_path / "out", tmp_path / "images")
    assert list(dataset.manifest.label_names) == ["café", "été"]
    assert json.loads((tmp_path / "out" / "dataset.json").read_bytes())["label_names"][0] == "café"
    labels = [label for split in ("train", "eval") for _, label in _examples(dataset.path, split)]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("the class folder 'caf\\xe9' is not UTF-8; read as Latin-1 it is called")
