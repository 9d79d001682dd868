"""Time jitter: which codes are replaced, and when."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.config import NetworkConfig
from models.part import Part
from models.time_jitter import jittered
from models.vqvae import VQVAE

KEY = tf.constant([3, 5], tf.int64)


def places(count: int, rows: int) -> tf.Tensor:
    """`[N, rows, 2, 1]` of which every value is its row."""
    return tf.broadcast_to(tf.range(float(rows))[:, None, None], [count, rows, 2, 1])


def test_as_many_rows_as_asked_for_come_from_either_side():
    moved = (jittered(places(400, 50), 0.12, KEY) - places(400, 50)).numpy()
    np.testing.assert_array_equal(moved[:, :, 0], moved[:, :, 1])  # columns move together
    inner = moved[:, 1:-1, 0, 0]
    assert set(np.unique(inner)) == {-1.0, 0.0, 1.0}
    # 19,200 rows: four standard deviations are 0.7 %.
    np.testing.assert_allclose([np.mean(inner == step) for step in (-1, 1)], 0.06, atol=0.007)
    assert moved[:, 0].min() == 0 == moved[:, -1].max()


def test_it_depends_on_the_key_and_the_place_in_the_whole_batch():
    rows = places(6, 20)
    whole = jittered(rows, 0.5, KEY)
    np.testing.assert_array_equal(jittered(rows, 0.5, KEY), whole)
    parts = [jittered(rows[2 * n : 2 * n + 2], 0.5, KEY, Part(n, 3)) for n in range(3)]
    np.testing.assert_array_equal(tf.concat(parts, axis=0), whole)
    assert np.any(jittered(rows, 0.5, KEY + 1) != whole)


def network(share: float, height: int = 32) -> NetworkConfig:
    return NetworkConfig.model_validate(
        {
            "image": {"height": height, "width": 4, "channels": 1},
            "model": {
                "encoder": {"downsampling": [2, 4], "hidden_units": 8, "residual_units": 4},
                "quantizer": {"num_codes": 16, "embedding_dim": 4},
                "decoder": {"time_jitter": share},
            },
        }
    )


def test_a_single_row_has_no_neighbours():
    with pytest.raises(ValueError, match=r"model\.decoder\.time_jitter .* there is one row"):
        network(0.1, height=2)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_only_training_is_jittered(share):
    vqvae, plain = VQVAE(network(share), 0.1, seed=1), VQVAE(network(0.0), 0.1, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 4, 1), "uint8")
    expected = plain(images, training=True)["loss"]
    assert vqvae(images, jitter_key=KEY)["loss"] == expected
    assert vqvae(images, training=True)["loss"] == expected  # without a key
    found = vqvae(images, training=True, jitter_key=KEY)
    assert (found["loss"] != expected) == (share > 0)
    # What the codebook learns from are the encodings as they are.
    np.testing.assert_array_equal(found["codes"], plain.encode(images))
