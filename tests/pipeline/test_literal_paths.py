"""Every path is used literally: names with brackets, quotes, bytes that are no UTF-8, and the like.

Data set, run root, release store, configuration, images and codes have such names and go through
`vqvae data`, `run`, `encode` and `releases verify`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.commands.cli import cli
from pipeline.inference import codes_file
from tests.fixtures import tiny_models
from tests.fixtures.tiny_models import png, some_images

CONFIG = """
name: tiny
data:
  image: {height: 8, width: 8, channels: 1}
model:
  encoder: {downsampling: 4, hidden_units: 8, residual_blocks: 0, residual_units: 4}
  quantizer: {num_codes: 8, embedding_dim: 4, kmeans_iterations: 1}
prior: {layers: 1, hidden_units: 8, head_units: 8}
training:
  vqvae: {steps: 1, batch_size: 16, min_code_usage: 0}
  prior: {steps: 1, batch_size: 16}
gate:
  thresholds:
    nmse: {max: 1000}
"""
# Each of them meant something else, or nothing, to some library.
NAMES = (
    "lr=[1e-3],steps=10 [/b] [red]a :smile: %41 #1?",
    "-a*b 'c' \"d\" back\\slash:8500 ~",
    "caf\udce9 [\udcff]" + "x" * 180,
)

_PIECES = st.sampled_from([*" []*?%#:'\"()~$&;\\-=é日😀", "\udce9", "[/b]", "%41", "x" * 40, "v1"])
names = (
    st.lists(_PIECES, min_size=4, max_size=8)
    .map("".join)
    .filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 200)
)
often = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    return tiny_models.write(tmp_path_factory.mktemp("models") / "a")


def vqvae(*arguments: str) -> str:
    """What a command prints that must succeed."""
    done = CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return os.fsdecode(done.stdout_bytes)


def write_images(folder: str) -> None:
    for index, pixels in enumerate(some_images(6)):
        path = Path(folder, f"[{index % 2}]", f"{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))


def through_data_encode_and_verify(name: str, models: dict[str, Path], bulk: bool) -> None:
    """Everything but a run, with folders and files of such names in the current folder."""
    images, data, root, out = (f"{name}.{kind}" for kind in ("images", "data", "root", "out"))
    write_images(images)
    vqvae("data", "folder", f"--source={images}", "--", data)
    tiny_models.publish(Path(root, "serving"), models)
    assert vqvae("releases", "verify", f"--root={root}") == "release 1: whole\n"
    assert "stable" in vqvae("releases", "list", f"--store={root}/serving")

    said = vqvae("encode", f"--root={root}", f"--out={out}/{name}.npz", "--", images)
    assert said == f"{out}/{name}.npz: codes of 6 images\n"
    said = vqvae("decode", f"--root={root}", f"--out={out}/png", "--", f"{out}/{name}.npz")
    assert said == f"{out}/png: 6 images\n"
    assert len(list(Path(out, "png").rglob("*.png"))) == 6
    if bulk:
        vqvae("encode", f"--data={data}", f"--root={root}", f"--out={out}/codes")
        said = vqvae("decode", f"--data={out}/codes", f"--root={root}", f"--out={out}/tfrecords")
        assert said.startswith(f"{out}/tfrecords: 6 images in 2 files")
    # Nothing was written to where another reading of the name leads.
    assert set(os.listdir()) == {Path(each).parts[0] for each in (images, data, root, out)}


@pytest.mark.parametrize("name", NAMES)
def test_data_encode_and_verify(name, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    through_data_encode_and_verify(name, models, bulk="\udce9" in name)


@pytest.mark.slow
@given(name=names)
@settings(often, max_examples=5)
def test_data_encode_and_verify_with_any_name(name, models, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    with contextlib.chdir(place):
        through_data_encode_and_verify(name, models, bulk=True)
    shutil.rmtree(place)


def through_a_run(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A run, and what is done with its release."""
    images, data, root = "images", f"{name}.data", f"{name}.root"
    write_images(images)
    vqvae("data", "folder", f"--source={images}", "--", data)
    Path(f"{name}.yaml").write_text(CONFIG)
    vqvae("run", f"--config={name}.yaml", f"--data={data}", f"--root={root}")
    said = capfd.readouterr().out  # it writes past Python's standard output
    for line in (
        f"tiny: {data} → {os.getcwd()}/{root}",
        "released version 1",
        f"release  {root}/serving",
        f"report   {root}/report/index.html",
    ):
        assert os.fsencode(line).decode("utf-8", "replace") in said.splitlines()
    record = json.loads(Path(root, "last_run.json").read_text())
    outputs = [uri for each in record["components"] for uri in each["outputs"].values()]
    assert outputs
    assert all(Path(uri).is_relative_to(Path(root).absolute()) for uri in outputs)
    assert all(map(os.path.isdir, outputs))
    assert 'class="problems"' not in Path(root, "report", "index.html").read_text()

    assert vqvae("releases", "verify", f"--root={root}") == "release 1: whole\n"
    vqvae("encode", f"--root={root}", f"--out={name}.npz", images)
    assert len(codes_file.read(Path(f"{name}.npz"))) == 6


@pytest.fixture
def untrained(monkeypatch):
    """Trainings that end where they begin."""
    monkeypatch.setattr("components.trainer.run.fit", lambda *_, **__: None)


@pytest.mark.slow
@given(name=names)
@example(name="-[/b] lr=[1] caf\udce9 %41#?*")
@settings(often, max_examples=1)
def test_run_with_any_name(name, untrained, tmp_path_factory, capfd):
    place = tmp_path_factory.mktemp("place")
    with contextlib.chdir(place):
        through_a_run(name, capfd)
    shutil.rmtree(place)
