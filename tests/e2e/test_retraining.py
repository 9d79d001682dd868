"""Warm start from the last release, and `vqvae train` on the records of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

QUICK = {
    "training.vqvae.steps": 60,
    "training.vqvae.evaluate_every": 60,
    "training.prior.steps": 20,
    "training.prior.evaluate_every": 20,
    "prior.layers": 2,
    "model.quantizer.num_codes": 32,
    "gate.thresholds": "{nmse: {max: 0.99}}",
}


def vqvae(*arguments: str, **changes: object) -> subprocess.CompletedProcess:
    settings = {**QUICK, **{name.replace("__", "."): value for name, value in changes.items()}}
    options = [f"--set={key}={value}" for key, value in settings.items()]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, *options],
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.fixture(scope="module")
def root(digits_data, tmp_path_factory) -> Path:
    """A run root with one release."""
    root = tmp_path_factory.mktemp("retraining") / "root"
    done = vqvae("run", f"--data={digits_data}", f"--root={root}")
    assert done.returncode == 0, done.stderr
    assert began_with(root, 1) == {"vqvae": "random weights", "prior": "random weights"}
    return root


def began_with(root: Path, version: int) -> dict[str, str]:
    manifest = json.loads((root / "serving/releases" / f"{version}.json").read_text())
    return manifest["model"]["began_with"]


def metrics(root: Path, version: int) -> dict[str, float]:
    return json.loads((root / "serving/releases" / f"{version}.json").read_text())["metrics"]


def test_warm_start_goes_on_from_the_last_release(digits_data, root):
    warm = {"training__warm_start": "last_release"}
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", **warm)
    assert done.returncode == 0, done.stderr
    assert "begins with the weights of release 1" in done.stdout
    assert began_with(root, 2) == {"vqvae": "release 1", "prior": "release 1"}
    # The same few steps again, from where the first ended.
    assert metrics(root, 2)["nmse"] < 0.8 * metrics(root, 1)["nmse"]


def test_warm_start_with_other_shapes_says_so(digits_data, root):
    changes = {"training__warm_start": "last_release", "model__quantizer__num_codes": 16}
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", **changes)
    assert done.returncode == 0, done.stderr
    assert "vqvae: begins with random weights, not those of a release: in release 2" in done.stdout
    assert began_with(root, 3)["vqvae"].startswith("random weights: in release 2 ")


def test_each_training_runs_by_itself(root, tmp_path):
    def artifact(name: str) -> str:
        return str(max(root.glob(f"pipeline/{name}/*"), key=lambda path: int(path.name)))

    graph = artifact("Transform/transform_graph")
    examples = artifact("Transform/transformed_examples")
    done = vqvae("train", "vqvae", f"--data={examples}", f"--out={tmp_path}/vqvae")
    assert done.returncode == 0, done.stderr
    assert "vqvae: step 60/60" in done.stdout
    done = vqvae(
        *("train", "prior", f"--data={artifact('Tokenizer/codes')}", f"--out={tmp_path}/prior"),
        *(f"--vqvae={tmp_path}/vqvae", f"--transform-graph={graph}"),
        model__quantizer__num_codes=16,  # of the run whose codes these are
    )
    assert done.returncode == 1  # the model has other codes
    done = vqvae(
        *("train", "prior", f"--data={artifact('Tokenizer/codes')}", f"--out={tmp_path}/prior"),
        *(f"--vqvae={artifact('Trainer-vqvae/model')}", f"--transform-graph={graph}"),
        model__quantizer__num_codes=16,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "prior/release/sample/saved_model.pb").is_file()


def test_a_transformer_is_compared_with_the_release_of_a_pixelcnn(digits_data, root, tmp_path):
    before = len(list((root / "serving/releases").glob("[0-9]*.json")))
    changes = {
        "prior__kind": "transformer",
        "prior__head_units": 128,  # its default: digits.yaml sets another
        "training__warm_start": "last_release",
        "gate__thresholds": "{nmse: {max: 0.99}, prior_bits_per_code: {worse_by: 1.0}}",
    }
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert began_with(root, before + 1)["prior"].startswith("random weights: in release ")
    judged = next(line for line in done.stdout.splitlines() if "prior_bits_per_code " in line)
    assert "worse" in judged
    drawn = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "sample", f"--root={root}"),
            *(f"--out={tmp_path}/drawn", "--label=3", "--guidance=2", "--count=2"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert drawn.returncode == 0, drawn.stderr
