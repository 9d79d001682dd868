"""Residual codes, several views for the prior and Fréchet distances in the gate: a whole run."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

SETTINGS = {
    "model.quantizer": "{kind: simvq, num_codes: 16, embedding_dim: 8, depth: 2}",
    "training.vqvae.steps": 20,
    "training.prior.steps": 20,
    "training.prior.views": 2,
    "training.prior.shift": 1,
    "prior.layers": 2,
    "prior.hidden_units": 8,
    "prior.head_units": 8,
    "gate.features": "features",
    "gate.thresholds": "{rfid: {max: 1.0e+6}, fid: {max: 1.0e+6}, code_usage_2: {min: 0.01}}",
}


def write_network(folder: str) -> None:
    """Images of any size to 16 features, the means of 2×2 blocks of 8×8 pixels."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.uint8, name="images")])
    def features(images):
        small = tf.image.resize(tf.cast(images, tf.float32), [4, 4], "area")
        return {"features": tf.reshape(small / 255.0, [-1, 16])}

    tf.saved_model.save(tf.Module(), folder, signatures=features)


@pytest.mark.slow
def test_a_run_is_judged_by_them_and_released(tmp_path):
    write_network(str(tmp_path / "features"))
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--config", "digits"]
        + [f"--set={key}={value}" for key, value in SETTINGS.items()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    root = tmp_path / "runs" / "digits"
    manifest = json.loads((root / "serving" / "releases" / "1.json").read_text())
    assert manifest["model"]["code_shape"] == [4, 4, 2]
    metrics = manifest["metrics"]
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    assert metrics["fid_images"] == 185
    # What 20 steps make of noise is further from digits than what they make of digits.
    assert 0 < metrics["rfid"] < metrics["fid"]
    mean = math.sqrt(metrics["perplexity_1"] * metrics["perplexity_2"])
    assert metrics["perplexity"] == pytest.approx(mean)
    (contents,) = (root / "pipeline" / "Tokenizer" / "codes").glob("*/contents.json")
    written = json.loads(contents.read_text())["splits"]
    records = {
        split: sum(file["records"] for file in held["files"].values())
        for split, held in written.items()
    }
    assert records == {"train": 2 * 1612, "eval": 185}
    page = (root / "report" / "index.html").read_text()
    assert "perplexity, codebook 2" in page
    assert "rFID" in page
