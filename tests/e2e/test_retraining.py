"""Runs after a first release: warm start, other networks, and `vqvae train` on a run's records."""

from __future__ import annotations

import json
import math
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
WARM = {"training.warm_start": "last_release"}


def vqvae(*arguments: str, changes: dict[str, object]) -> subprocess.CompletedProcess:
    options = [f"--set={key}={value}" for key, value in (QUICK | changes).items()]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, *options],
        capture_output=True,
        text=True,
        timeout=1800,
    )


def manifest(root: Path, version: int) -> dict:
    return json.loads((root / "serving/releases" / f"{version}.json").read_text())


def began_with(root: Path, version: int) -> dict[str, str]:
    return manifest(root, version)["model"]["began_with"]


def artifact(root: Path, name: str) -> Path:
    """The last that a run of this root wrote."""
    return max(root.glob(f"pipeline/{name}/*"), key=lambda path: int(path.name))


@pytest.fixture(scope="module")
def root(digits_data, tmp_path_factory) -> Path:
    """A run root with one release."""
    root = tmp_path_factory.mktemp("retraining") / "root"
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", changes={})
    assert done.returncode == 0, done.stderr
    assert began_with(root, 1) == {"vqvae": "random weights", "prior": "random weights"}
    return root


def test_each_training_runs_by_itself(root, tmp_path):
    examples = artifact(root, "Transform/transformed_examples")
    codes, graph = artifact(root, "Tokenizer/codes"), artifact(root, "Transform/transform_graph")
    other = {"model.quantizer.num_codes": 16}
    done = vqvae("train", "vqvae", f"--data={examples}", f"--out={tmp_path}/vqvae", changes=other)
    assert done.returncode == 0, done.stderr
    assert "vqvae: step 60/60" in done.stdout

    def train_prior(trained) -> subprocess.CompletedProcess:
        return vqvae(
            *("train", "prior", f"--data={codes}", f"--out={tmp_path}/prior"),
            *(f"--vqvae={trained}", f"--transform-graph={graph}"),
            changes={},
        )

    assert train_prior(f"{tmp_path}/vqvae").returncode == 1  # the model has other codes
    done = train_prior(artifact(root, "Trainer-vqvae/model"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "prior/release/sample/saved_model.pb").is_file()


def test_a_warm_transformer_is_compared_with_the_release_of_a_pixelcnn(digits_data, root, tmp_path):
    changes = WARM | {
        "prior.kind": "transformer",
        "prior.head_units": 128,  # its default: digits.yaml sets another
        "gate.thresholds": "{nmse: {max: 0.99}, prior_bits_per_code: {worse_by: 1.0}}",
    }
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", changes=changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "begins with the weights of release 1" in done.stdout
    begun = began_with(root, 2)
    assert begun["vqvae"] == "release 1"
    assert begun["prior"].startswith("random weights: in release 1 ")
    # The same few steps again, from where the first ended.
    before, now = (manifest(root, version)["metrics"] for version in (1, 2))
    assert now["nmse"] < 0.8 * before["nmse"]
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


def write_features(folder: str) -> None:
    """A network for Fréchet distances: images of any size to 16 features, means of blocks."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.uint8, name="images")])
    def features(images):
        small = tf.image.resize(tf.cast(images, tf.float32), [4, 4], "area")
        return {"features": tf.reshape(small / 255.0, [-1, 16])}

    tf.saved_model.save(tf.Module(), folder, signatures=features)


def test_residual_codes_with_views_and_frechet_distances(digits_data, root, tmp_path):
    write_features(str(tmp_path / "features"))
    changes = WARM | {
        "model.quantizer": "{kind: simvq, num_codes: 16, embedding_dim: 8, depth: 2}",
        "training.vqvae.steps": 20,
        "training.prior.views": 2,
        "training.prior.shift": 1,
        "gate.features": tmp_path / "features",
        "gate.thresholds": "{rfid: {max: 1.0e+6}, fid: {max: 1.0e+6}, code_usage_2: {min: 0.01}}",
    }
    done = vqvae("run", f"--data={digits_data}", f"--root={root}", changes=changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vqvae: begins with random weights, not those of a release: in release 2" in done.stdout
    assert began_with(root, 3)["vqvae"].startswith("random weights: in release 2 ")
    assert manifest(root, 3)["model"]["code_shape"] == [4, 4, 2]
    metrics = manifest(root, 3)["metrics"]
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    assert metrics["fid_images"] == 185
    # What 20 steps make of noise is further from digits than what they make of digits.
    assert 0 < metrics["rfid"] < metrics["fid"]
    mean = math.sqrt(metrics["perplexity_1"] * metrics["perplexity_2"])
    assert metrics["perplexity"] == pytest.approx(mean)
    written = json.loads((artifact(root, "Tokenizer/codes") / "contents.json").read_text())
    records = {
        split: sum(file["records"] for file in held["files"].values())
        for split, held in written["splits"].items()
    }
    assert records == {"train": 2 * 1612, "eval": 185}
    page = (root / "report" / "index.html").read_text()
    assert "perplexity, codebook 2" in page
    assert "rFID" in page
