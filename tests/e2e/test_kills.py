"""A run that is killed, at any moment, and started again ends with the release it would have."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SETTINGS = {
    "training.vqvae.steps": 600,
    "training.vqvae.evaluate_every": 100,
    "training.vqvae.checkpoint_every": 40,
    "training.prior.steps": 600,
    "training.prior.evaluate_every": 200,
    "training.prior.checkpoint_every": 20,
    "prior.layers": 1,
    "model.encoder.residual_blocks": 1,
    "model.quantizer.num_codes": 32,
    "gate.thresholds": "{nmse: {max: 0.9}}",
}


def start(data: Path, root: Path) -> subprocess.Popen:
    options = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", f"--data={data}", f"--root={root}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen, text: str, lines: int = 1) -> bool:
    """Reads on until so many lines with `text` have come; False if the process ended first."""
    for line in process.stdout:
        if text in line:
            lines -= 1
            if not lines:
                return True
    return False


def wait_for_checkpoint(process: subprocess.Popen, root: Path, training: str) -> bool:
    """Waits until the training has written one more; False if the process ended first."""
    before = last_step(root, training)
    # Read on, lest the process waits for a reader.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    while process.poll() is None:
        if last_step(root, training) > before:
            return True
        time.sleep(0.02)
    return False


def last_step(root: Path, training: str) -> int:
    written = root.glob(f"checkpoints/{training}-*/ckpt-*.index")
    return max((int(path.stem.removeprefix("ckpt-")) for path in written), default=0)


def finish(data: Path, root: Path) -> None:
    process = start(data, root)
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, output[-3000:]


def released(root: Path) -> dict[str, np.ndarray]:
    """Every weight of the release, and the metrics that it was judged by."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(root / "serving/evaluate/1/variables/variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("weights/")]
    manifest = json.loads((root / "serving/releases/1.json").read_text())
    return {name: reader.get_tensor(name) for name in names} | {
        f"metric {name}": np.array(value) for name, value in manifest["metrics"].items()
    }


def assert_same_release(root: Path, expected: Path) -> None:
    found, wanted = released(root), released(expected)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(digits_data, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    finish(digits_data, root)
    return root


def test_stopped_at_random_moments(digits_data, undisturbed, tmp_path):
    """At any component, by SIGTERM in a training, then killed in the one and in the other."""
    root, draw = tmp_path / "root", random.Random(7)
    for _ in range(3):
        process = start(digits_data, root)
        assert wait_for(process, "starts")
        time.sleep(draw.uniform(0.0, 3.0))
        kill(process)

    process = start(digits_data, root)
    assert wait_for(process, "vqvae: step")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 75, output[-3000:]
    assert "error: vqvae: stopped by SIGTERM at step" in output
    assert last_step(root, "vqvae") > 0

    for training in ("vqvae", "vqvae", "prior", "prior"):
        process = start(digits_data, root)
        assert wait_for_checkpoint(process, root, training), f"{training}: more steps, please"
        time.sleep(draw.uniform(0.0, 0.5))
        kill(process)
    finish(digits_data, root)
    assert_same_release(root, undisturbed)


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
