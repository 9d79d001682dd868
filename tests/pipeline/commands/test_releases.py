"""`vqvae releases`: what a user sees and what goes wrong in one line."""

import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from components.release_store import folder as folder_store
from pipeline.commands.releases import releases

METRICS = {"nmse": 0.0312, "psnr": 21.5, "code_usage": 1.0, "bits_per_dim": None}


@pytest.fixture
def root(tmp_path):
    """A run root with two releases, of files laid out like SavedModels."""
    candidates = {}
    for model in folder_store.MODELS:
        candidates[model] = tmp_path / "candidate" / model
        (candidates[model] / "variables").mkdir(parents=True)
        for name in (
            "saved_model.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
        ):
            (candidates[model] / name).write_text(model)
    for _ in range(2):
        folder_store.publish(tmp_path / "serving", candidates, {"metrics": METRICS})
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(releases, [str(argument) for argument in arguments])


def test_list_shows_every_release_and_which_is_served(root):
    result = call("list", "--root", root)
    assert result.exit_code == 0
    heading, newest, oldest = result.output.splitlines()
    assert heading.split()[:3] == ["version", "created", "NMSE"]
    assert newest.split()[0] == "2"
    assert newest.split()[2:] == ["0.0312", "21.50", "-", "100.0%", "-", "-", "stable"]
    assert oldest.split()[0] == "1"
    assert oldest.split()[-1] == "served"
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
    assert [line.split()[-1] for line in result.output.splitlines()[1:3]] == ["damaged", "served"]
    assert result.output.splitlines()[3].startswith("Error: ")
    assert "latest.json names release 2" in result.output


def test_rollback(root):
    result = call("rollback", 1, "--root", root)
    assert result.exit_code == 0
    assert "release 1" in result.output
    assert folder_store.latest(root / "serving").version == 1
    assert states(root) == {"1": "stable", "2": "-"}


def states(root):
    """State of each release as `list` shows it; `-` ends the line of one that is not served."""
    lines = call("list", "--root", root).output.splitlines()[1:]
    return {line.split()[0]: line.split()[-1] for line in lines}


def test_a_canary_comes_and_is_promoted_or_goes(root):
    call("rollback", 1, "--root", root)
    result = call("canary", 2, "--root", root)
    assert (result.exit_code, result.output) == (
        0,
        f"release 2 is now the canary; release 1 is the stable one in {root}/serving\n",
    )
    assert states(root) == {"1": "stable", "2": "canary"}
    result = call("canary", "--off", "--root", root)
    assert result.output.startswith("there is no canary any more; release 1 is the stable one")
    assert states(root) == {"1": "stable", "2": "-"}
    call("canary", 2, "--root", root)
    result = call("promote", 2, "--root", root)
    assert result.output.endswith("now the stable one; release 1 is still served, to go back to\n")
    assert states(root) == {"1": "served", "2": "stable"}


def test_a_canary_that_cannot_be(root):
    result = call("canary", 2, "--root", root)
    assert result.exit_code == 1
    assert result.output.startswith("Error: release 2 is the stable one in ")
    for arguments in ((), (1, "--off")):
        result = call("canary", *arguments, "--root", root)
        assert result.exit_code == 2
        assert "give either a VERSION or --off" in result.output


def test_rollback_to_what_is_not_there(root):
    result = call("rollback", 7, "--root", root)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: no release 7 in ")
    assert line.endswith("there are: 1, 2")
    assert call("rollback", "x", "--root", root).exit_code == 2


def test_prune(root):
    assert call("prune", "--keep", 1, "--root", root).output == "removed: none\n"  # both served
    release = folder_store.get(root / "serving", 2)
    candidates = {model: release.path(model) for model in folder_store.MODELS}
    folder_store.publish(root / "serving", candidates, {})
    result = call("prune", "--keep", 1, "--root", root)
    assert (result.exit_code, result.output) == (0, "removed: 1\n")
    assert folder_store.versions(root / "serving") == [2, 3]
    assert call("prune", "--root", root).exit_code == 2


def test_verify_tells_what_differs(root):
    release = folder_store.get(root / "serving", 1)
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


def test_a_store_in_an_object_store(root):
    import fsspec

    from components.release_store import store as stores

    release = folder_store.get(root / "serving", 1)
    candidates = {model: release.path(model) for model in folder_store.MODELS}
    uri = "memory://bucket/serving"
    assert "nothing has been released to memory://" in call("list", "--store", uri).output
    for push, label in enumerate(("stable", "stable", "canary")):
        stores.publish(uri, candidates, {"metrics": METRICS}, str(push), label)
    shown = call("list", "--store", uri).output.splitlines()
    assert [line.split()[-1] for line in shown] == ["state", "canary", "stable", "served"]
    assert call("promote", 3, "--store", uri).exit_code == 0
    assert call("prune", "--keep", 1, "--store", uri).output == "removed: 1\n"
    assert call("show", 2, "--store", uri).output.startswith("# Release 2\n")
    assert "encode cannot be loaded" in call("verify", 2, "--store", uri).output
    fsspec.filesystem("memory").pipe("/bucket/serving/decode/2/saved_model.pb", b"changed")
    assert "decode/2/saved_model.pb has changed" in call("verify", 2, "--store", uri).output
    assert call("rollback", 7, "--store", uri).output.startswith("Error: no release 7 in memory:")


def test_answers_without_the_weight_of_tensorflow():
    code = (
        "import sys, pipeline.commands.releases; assert not {'tfx', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
