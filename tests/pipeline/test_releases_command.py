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


def test_prune(root):
    result = call("prune", "--keep", 1, "--root", root)
    assert (result.exit_code, result.output) == (0, "removed: 1\n")
    assert release_store.versions(root / "serving") == [2]
    assert call("prune", "--keep", 1, "--root", root).output == "removed: none\n"
    assert call("prune", "--root", root).exit_code == 2


def test_verify_tells_what_differs(root):
    release = release_store.get(root / "serving", 1)
    (release.decode / "variables/variables.index").write_text("changed")
    result = call("verify", 1, "--root", root)
    assert result.exit_code == 1
    problem, error = result.output.splitlines()
    assert problem == "release 1: decode/variables/variables.index has changed"
    assert error.startswith("Error: damaged: 1; restore the files from a copy, or ")


def test_verify_loads_each_model(root):
    result = call("verify", 2, "--root", root)  # as released, and no SavedModels
    assert result.exit_code == 1
    assert "release 2: encode cannot be loaded: " in result.output
    assert not list(root.rglob("*.log"))


def test_verify_of_nothing(tmp_path):
    assert call("verify", "--root", tmp_path).exit_code == 0


def test_show_is_the_card_of_the_release(root):
    result = call("show", 1, "--root", root)
    assert result.exit_code == 0
    assert result.output == (root / "serving/releases/1.md").read_text()
    assert "| `nmse` | 0.0312 |" in result.output
    assert "| `bits_per_dim` | – |" in result.output
    assert "no release 7 in" in call("show", 7, "--root", root).output


def test_answers_without_the_weight_of_tensorflow():
    code = (
        "import sys, pipeline.releases_command; assert not {'tfx', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
