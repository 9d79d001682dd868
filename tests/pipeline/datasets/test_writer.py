"""Data sets: what is written, what is refused, and that nothing half-written is ever there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.data import data as data_command
from pipeline.config.config import ConfigError
from pipeline.datasets.staging import staging
from pipeline.datasets.writer import write_dataset
from tests.fixtures.datasets import examples_of, files_of, pixels_of, refusal, write_idx


def test_digits_hold_scikit_learns_pixels(digits_data: Path) -> None:
    from sklearn.datasets import load_digits

    train, held_out = examples_of(digits_data, "train"), examples_of(digits_data, "eval")
    bunch = load_digits()
    wanted = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    written = sorted((pixels_of(image).tobytes(), label) for image, label in train + held_out)
    assert written == sorted(
        (pixels.tobytes(), int(label)) for pixels, label in zip(wanted, bunch.target, strict=True)
    )
    assert abs(len(held_out) - 180) <= 10
    shares = np.bincount([label for _, label in held_out]) / np.bincount(bunch.target)
    assert np.all(np.abs(shares - 0.1) < 0.01)


def test_two_makes_are_the_same_bytes(digits_data: Path, tmp_path: Path) -> None:
    again = write_dataset("digits", tmp_path / "again")
    assert again.made
    assert files_of(again.path) == files_of(digits_data)


def test_manifest_describes_the_files(digits_data: Path) -> None:
    manifest = json.loads((digits_data / "dataset.json").read_text())
    assert manifest["name"] == "digits"
    assert manifest["label_names"] == [str(digit) for digit in range(10)]
    assert sum(manifest["images"].values()) == 1797
    assert manifest["height"] == manifest["width"] == [8, 8]
    for shard in manifest["shards"]:
        assert (digits_data / shard["file"]).stat().st_size == shard["bytes"]


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


def test_other_contents_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    assert "thesis.tex" in refusal("digits", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal("digits", tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


def test_another_data_set_is_not_overwritten(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")
    out = tmp_path / "out"
    write_dataset("idx", out, source)
    before = files_of(out)
    assert "holds the data set idx: 50 train" in refusal("digits", out)
    labels = source / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\7")
    assert "other images" in refusal("idx", out, source)
    assert files_of(out) == before


def test_damaged_data_set_is_named(tmp_path: Path) -> None:
    out = write_dataset("digits", tmp_path / "out").path
    (out / "eval" / "00000.tfrecord.gz").unlink()
    assert "eval/00000.tfrecord.gz is missing" in refusal("digits", out)


def test_empty_folder_and_link_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert write_dataset("digits", tmp_path / "link").made
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "dataset.json").is_file()


def test_current_folder_and_the_source_itself_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "current folder" in refusal("digits", ".")
    source = write_idx(tmp_path / "source")
    assert "lies in the source" in refusal("idx", source / "out", source)


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal("digits", tmp_path / "file" / "out")


def test_two_writers_at_once(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source", train=2000)
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
    assert files_of(tmp_path / "out") == files_of(
        write_dataset("idx", tmp_path / "o2", source).path
    )


def test_leavings_of_the_dead_are_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    dead = tmp_path / ".out.partial-0badcafe"
    (dead / "train").mkdir(parents=True)
    with staging(tmp_path / "out") as alive:
        assert not dead.exists()
        write_dataset("digits", tmp_path / "out")
        assert alive.is_dir()
    assert os.listdir(tmp_path) == ["out"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")

    def stop(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("writing", 30):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset("idx", tmp_path / "out", source, progress=stop)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.slow
def test_killed_at_any_moment_nothing_partial_is_visible(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source", train=20_000, side=20)
    wanted = files_of(write_dataset("idx", tmp_path / "wanted", source).path)
    out = tmp_path / "work" / "out"
    command = [sys.executable, "-m", "pipeline", "data", "idx", out, "--source", source]

    def run() -> subprocess.Popen:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    assert run().wait() == 0
    whole = time.monotonic() - began
    assert files_of(out) == wanted

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
        assert not out.exists() or files_of(out) == wanted
    assert interrupted >= 4

    assert run().wait() == 0
    assert files_of(out) == wanted
    assert os.listdir(out.parent) == ["out"]
