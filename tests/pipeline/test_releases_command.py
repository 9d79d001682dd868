"""`vqvae releases`: what a user sees and what goes wrong in one line."""

import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from components import release_store
from pipeline.releases_command import releases

METRICS = {"nmse": 0.0312, "psnr": 21.5, "code_usage": 1.0, "bits_per_dim": None}


@pytest.fixture
def root(tmp_path):
    """A run root with two releases, of files laid out like SavedModels."""
    candidates = {}
    for model in release_store.MODELS:
        candidates[model] = tmp_path / "candidate" / model
        (candidates[model] / "variables").mkdir(parents=True)
        for name in (
            "saved_model.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
        ):
            (candidates[model] / name).write_text(model)
    for _ in range(2):
        release_store.publish(tmp_path / "serving", candidates, {"metrics": METRICS})
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(releases, [str(argument) for argument in arguments])


def test_list_shows_every_release_and_which_is_served(root):
    result = call("list", "--root", root)
    assert result.exit_code == 0
    heading, newest, oldest = result.output.splitlines()
    assert heading.split()[:3] == ["version", "created", "NMSE"]
    assert newest.split()[0] == "2"
    assert newest.split()[2:] == ["0.0312", "21.50", "100.0%", "-", "-", "served"]
    assert oldest.split()[0] == "1"
    assert "served" not in oldest
    assert call("list", "--store", root / "serving").output == result.output


def test_list_of_nothing(tmp_path):
    result = call("list", "--root", tmp_path)
    assert result.exit_code == 0
    assert "nothing has been released" in result.output
    assert not list(tmp_path.iterdir())


def test_list_of_a_damaged_store_still_shows_the_rest(root):
    shutil.rmtree(root / "serving/decode/2")
    result = call("list", "--root", root)
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.output.splitlines()[1:3]] == ["damaged", "-"]
    assert result.output.splitlines()[3].startswith("Error: ")
    assert "latest.json names release 2" in result.output


def test_rollback(root):
    result = call("rollback", 1, "--root", root)
    assert result.exit_code == 0
    assert "release 1" in result.output
    assert release_store.latest(root / "serving").version == 1
    assert call("list", "--root", root).output.splitlines()[2].endswith("served")


def test_rollback_to_what_is_not_there(root):
    result = call("rollback", 7, "--root", root)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: no release 7 in ")
    assert line.endswith("there are: 1, 2")
    assert call("rollback", "x", "--root", root).exit_code == 2


def test_answers_without_the_weight_of_tensorflow():
    code = (
        "import sys, pipeline.releases_command; assert not {'tfx', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
