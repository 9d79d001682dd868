"""The codebook on several replicas is one codebook, and that of one device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Logical devices must be made before TensorFlow starts, hence a process of its own.
_PROGRAM = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from models.config import QuantizerConfig
from models.quantizers import EMAQuantizer

# A high threshold, so that every step restarts some codes.
CONFIG = QuantizerConfig(num_codes=16, embedding_dim=4, groups=2, restart_threshold=0.5)
BATCHES = [np.random.default_rng(s).normal(size=(40, 4)).astype("float32") for s in range(12)]


def train(strategy, parts):
    with strategy.scope():
        layer = EMAQuantizer(CONFIG, seed=3)
    step = tf.function(lambda z: layer(z, training=True).codes)
    for batch in BATCHES:
        values = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts(batch)[context.replica_id_in_sync_group])
        )
        strategy.run(step, args=(values,))
    return layer


mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
layers = {
    "one": train(tf.distribute.OneDeviceStrategy("CPU:0"), lambda batch: [batch]),
    "even": train(mirrored, lambda batch: [batch[:20], batch[20:]]),
    "uneven": train(mirrored, lambda batch: [batch[:33], batch[33:]]),
}
arrays = {}
for name, layer in layers.items():
    for weight in layer.weights:
        replicas = getattr(weight.value, "values", [weight.value])
        assert len(replicas) == (1 if name == "one" else 2), len(replicas)
        for index, value in enumerate(replicas):
            arrays[f"{name}/{index}/{weight.name}"] = value.numpy()
np.savez(sys.argv[1], **arrays)
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """State after training, by strategy and replica."""
    path = tmp_path_factory.mktemp("replicas") / "states.npz"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], check=True, cwd=root)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in np.load(path).items():
        place, weight = name.rsplit("/", 1)
        found.setdefault(place, {})[weight] = value
    return found


@pytest.mark.parametrize("split", ["even", "uneven"])
def test_replicas_have_the_same_codebook(states, split):
    for name, value in states[f"{split}/0"].items():
        np.testing.assert_array_equal(value, states[f"{split}/1"][name])


@pytest.mark.parametrize("split", ["even", "uneven"])
def test_it_is_the_codebook_of_one_device(states, split):
    for name, value in states["one/0"].items():
        np.testing.assert_allclose(states[f"{split}/0"][name], value, rtol=1e-4, atol=1e-5)
