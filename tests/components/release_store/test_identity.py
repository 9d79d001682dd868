"""What a served model says of itself: its release, and the codes that it understands."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from components.release_store.release import SERVED, VERSION_ASSET
from models.identity import codebook_sha256
from models.vqvae import VQVAE
from tests.fixtures import small_release

FSQ = {"kind": "fsq", "levels": (4, 3)}


def vqvae(seed: int, **quantizer: object) -> VQVAE:
    return VQVAE(small_release.network(**quantizer), data_variance=0.1, seed=seed)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return small_release.export(tmp_path_factory.mktemp("identity"), vqvae(1, **FSQ))


def identity(release, model: str, rows: int) -> dict[str, list]:
    loaded = tf.saved_model.load(str(release / model))
    answer = loaded.signatures["identity"](rows=tf.zeros([rows], tf.int32))
    return {name: tensor.numpy().tolist() for name, tensor in answer.items()}


def test_fsq_models_differ_though_their_codebooks_do_not():
    one, other = vqvae(1, **FSQ), vqvae(2, **FSQ)
    assert tf.reduce_all(one.quantizer.codebook() == other.quantizer.codebook())
    assert codebook_sha256(one) != codebook_sha256(other)
    other.set_weights(one.get_weights())
    assert codebook_sha256(one) == codebook_sha256(other)


@pytest.mark.parametrize("part", ["quantizer", "decoder"])
def test_every_weight_that_gives_codes_their_meaning_counts(part):
    model = vqvae(1)
    before = codebook_sha256(model)
    for weight in getattr(model, part).trainable_variables:
        kept = weight.numpy()
        weight.assign(kept + 1e-3)
        assert codebook_sha256(model) != before
        weight.assign(kept)
    assert codebook_sha256(model) == before


def test_the_encoder_may_change_while_codes_mean_the_same():
    model = vqvae(1)
    before = codebook_sha256(model)
    for weight in model.encoder.variables:
        weight.assign(weight + 1.0)
    assert codebook_sha256(model) == before


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_all_models_answer_with_what_model_json_says_once_per_row(release, rows):
    facts = json.loads((release / "model.json").read_text())
    expected = {
        "release": [0] * rows,  # not released yet
        "codebook_sha256": [facts["codebook_sha256"].encode()] * rows,
    }
    for model in SERVED:
        assert identity(release, model, rows) == expected


def test_all_models_carry_the_number_that_they_are_released_under(release):
    for model in SERVED:
        (release / model / VERSION_ASSET).write_text("12")
        assert identity(release, model, 2)["release"] == [12, 12]
