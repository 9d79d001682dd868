"""A released transformer: its signatures, loaded without our code."""

import numpy as np
import pytest
import tensorflow as tf

from models.vqvae import VQVAE
from tests.fixtures import small_release

DRAWN = {
    "labels": np.array([-1, 0, 2], "int32"),
    "seed": np.int64(3),
    "temperature": np.float32(1.0),
    "top_k": np.int32(0),
    "top_p": np.float32(1.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """No label was hidden in training."""
    vqvae = VQVAE(small_release.network(), data_variance=0.1)
    sizes = {"kind": "transformer", "layers": 1, "hidden_units": 8, "heads": 2}
    folder = tmp_path_factory.mktemp("transformer")
    return small_release.export(folder, vqvae, **sizes, unconditional_fraction=0.0)


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(str(folder / "sample")).signatures


def call(served, signature, **inputs):
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in served[signature](**inputs).items()}


def test_it_draws_and_completes(served):
    drawn = call(served, "controlled", **DRAWN)
    assert drawn["images"].shape == (3, 8, 8, 3)
    codes = drawn["codes"].copy()
    codes[:, 2:] = -1  # not looked at
    completed = call(served, "complete", **DRAWN, codes=codes, rows_given=np.int32(2))
    np.testing.assert_array_equal(completed["codes"], drawn["codes"])
    nothing = DRAWN | {"labels": np.zeros([0], "int32")}
    assert call(served, "controlled", **nothing)["codes"].shape == (0, 4, 4)


def test_guidance_is_refused_where_no_label_was_hidden(served):
    plain = call(served, "guided", **DRAWN, guidance=np.float32(1.0))
    np.testing.assert_array_equal(plain["codes"], call(served, "controlled", **DRAWN)["codes"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="guidance must be 1, for none"):
        call(served, "guided", **DRAWN, guidance=np.float32(2.0))
