"""What holds for every kind of quantizer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers import build_quantizer

KINDS = {
    "ema": {"kind": "ema"},
    "ema, rotation": {"kind": "ema", "estimator": "rotation"},
    "ema, cosine": {"kind": "ema", "cosine": True},
    "gradient": {"kind": "gradient"},
    "gradient, cosine, rotation": {"kind": "gradient", "cosine": True, "estimator": "rotation"},
    "simvq": {"kind": "simvq"},
    "fsq": {"kind": "fsq", "levels": (5, 4, 3)},
}
FSQ = ({"kind": "fsq"}, "kind fsq")
SIZES = {"num_codes": 16, "embedding_dim": 6, "restart_threshold": 0.9}


@pytest.fixture(params=KINDS, name="kind")
def _kind(request) -> str:
    return request.param


def build(kind: str, **changes):
    return build_quantizer(QuantizerConfig(**(SIZES | KINDS[kind] | changes)), seed=4)


def learn(layer, z):
    """A step of training on `z`, but for what the gradient moves."""
    output = layer(z, training=True)
    for variable, value in layer.updates(output.statistics):
        variable.assign(value)
    return output


def vectors(layer, *shape, seed=0):
    shape = (*shape, layer.config.embedding_dim)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_shapes_and_lookup(kind, groups):
    layer = build(kind, groups=groups)
    z = vectors(layer, 2, 4, 5)
    output = layer(z)
    assert output.codes.shape == ((2, 4, 5) if groups == 1 else (2, 4, 5, groups))
    assert output.codes.dtype == "int32"
    assert output.quantized.shape == z.shape
    assert output.quantized.dtype == "float32"
    assert 0 <= output.codes.numpy().min() <= output.codes.numpy().max() < layer.num_codes
    np.testing.assert_allclose(layer.lookup(output.codes), output.quantized, atol=1e-6)
    assert layer.codebook().shape == (layer.num_codes, z.shape[-1] // groups)
    parts = layer.codebook().numpy()[output.codes.numpy()].reshape(z.shape)
    np.testing.assert_allclose(parts, output.quantized, atol=1e-6)


def test_each_group_depends_on_its_channels_alone(kind):
    layer = build(kind, groups=2)
    z = vectors(layer, 32)
    changed = z.copy()
    half = z.shape[-1] // 2
    changed[:, half:] += 2.0 * vectors(layer, 32, seed=1)[:, half:]
    before, after = layer(z).codes.numpy(), layer(changed).codes.numpy()
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.any(before[:, 1] != after[:, 1])


def test_wrong_shapes_are_named(kind):
    layer = build(kind, groups=3)
    dim = layer.config.embedding_dim
    with pytest.raises(ValueError, match=rf"embedding_dim={dim}.*\(2, {dim + 1}\)"):
        layer(np.zeros((2, dim + 1), "float32"))
    with pytest.raises(ValueError, match=r"groups=3.*\(2, 4\)"):
        layer.lookup(np.zeros((2, 4), "int32"))


@pytest.mark.parametrize("groups", [1, 3])
def test_empty_batch(kind, groups):
    layer = build(kind, groups=groups)
    before = layer.codebook().numpy()
    output = learn(layer, vectors(layer, 0, 4))
    assert output.codes.shape == ((0, 4) if groups == 1 else (0, 4, 3))
    assert output.quantized.shape == (0, 4, layer.config.embedding_dim)
    np.testing.assert_allclose(layer.codebook(), before, rtol=1e-3, atol=1e-6)
    assert all(np.isfinite(weight.numpy()).all() for weight in layer.weights)


def test_codes_are_counted_in_training(kind):
    layer = build(kind)
    output = layer(vectors(layer, 64), training=True)
    expected = np.bincount(output.codes.numpy().ravel(), minlength=layer.num_codes)
    np.testing.assert_array_equal(output.statistics["counts"], expected)
    assert not layer(vectors(layer, 64)).statistics


@pytest.mark.parametrize("training", [False, True])
def test_a_call_changes_nothing(kind, training):
    layer = build(kind)
    before = [weight.numpy() for weight in layer.weights]
    layer(vectors(layer, 64), training=training)
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def trained(kind, compile_step):
    """Outputs, gradients and state after three training steps."""
    layer = build(kind)
    upstream = vectors(layer, 48, seed=9)

    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            output = learn(layer, z)
            loss = tf.add_n([tf.reduce_sum(output.quantized * upstream), *output.losses.values()])
        weights = [weight.value for weight in layer.trainable_weights]
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, [z, *weights])]
        return [output.quantized, output.codes, loss, *gradients]

    step = compile_step(step)
    for seed in range(3):
        results = step(tf.constant(vectors(layer, 48, seed=seed)))
    return [value.numpy() for value in results], [weight.numpy() for weight in layer.weights]


def test_eager_graph_and_xla_agree(kind):
    eager, state = trained(kind, lambda step: step)
    for compile_step in (tf.function, lambda step: tf.function(step, jit_compile=True)):
        results, after = trained(kind, compile_step)
        for expected, value in zip(eager + state, results + after, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_batch_size_compiles(kind):
    layer = build(kind)
    spec = tf.TensorSpec([None, layer.config.embedding_dim])
    for compiled in (False, True):
        codes = tf.function(lambda z: layer(z).codes, [spec], jit_compile=compiled)
        for count in (0, 1, 70):
            z = vectors(layer, count)
            np.testing.assert_array_equal(codes(z), layer(z).codes)


def test_bfloat16_encodings_are_quantized_in_float32(kind):
    layer = build(kind)
    z = tf.cast(vectors(layer, 40), tf.bfloat16)
    low, full = learn(layer, z), learn(build(kind), tf.cast(z, tf.float32))
    assert low.quantized.dtype == "float32"
    np.testing.assert_array_equal(low.codes, full.codes)
    np.testing.assert_array_equal(low.quantized, full.quantized)
    assert all(weight.dtype in ("float32", "int64") for weight in layer.weights)


def test_state_is_float32_under_a_mixed_policy(kind):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = build(kind)
    finally:
        keras.config.set_dtype_policy(before)
    assert layer(tf.cast(vectors(layer, 8), tf.bfloat16)).quantized.dtype == "float32"
    assert all(weight.dtype in ("float32", "int64") for weight in layer.weights)


def test_saved_state_gives_the_same_codes(kind, tmp_path):
    layer = build(kind)
    learn(layer, vectors(layer, 64))
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    other = build_quantizer(layer.config, seed=5)
    tf.train.Checkpoint(layer=other).read(path).assert_existing_objects_matched()
    z = vectors(layer, 64, seed=1)
    np.testing.assert_array_equal(layer(z).codes, other(z).codes)
    # What is learned next is the same too: nothing of the state was left out.
    if kind != "fsq":
        other.seed = layer.seed  # of the restarts
    learn(layer, z), learn(other, z)
    for ours, theirs in zip(layer.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_cosine_codebook_goes_by_the_angle():
    layer = build("ema, cosine", embedding_dim=3)
    z = vectors(layer, 50)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    embedding = layer.embedding.numpy()
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    np.testing.assert_array_equal(layer(z).codes, (unit @ embedding.T).argmax(1))
    np.testing.assert_array_equal(layer(7.0 * z).codes, layer(z).codes)
    learn(layer, z)
    np.testing.assert_allclose(np.linalg.norm(layer.codebook(), axis=1), 1.0, rtol=1e-5)
    layer.initialize(z)
    np.testing.assert_allclose(np.linalg.norm(layer.embedding, axis=1), 1.0, rtol=1e-5)


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match=r"embedding_dim \(64\) must be a multiple of groups \(5"):
        QuantizerConfig(groups=5)
    with pytest.raises(ValueError, match="fsq has not"):
        QuantizerConfig(kind="fsq", cosine=True)
    with pytest.raises(ValueError, match="greater than or equal to 3"):
        QuantizerConfig(kind="fsq", levels=(2, 8))
    for other, named in (({"groups": 2}, "groups"), ({"cosine": True}, "cosine"), FSQ):
        with pytest.raises(ValueError, match=rf"depth \(2\) does not go with {named}"):
            QuantizerConfig(depth=2, **other)


def test_sizes_of_fsq_follow_from_its_levels_and_survive_json():
    config = QuantizerConfig(kind="fsq", levels=(8, 6, 5), groups=2, num_codes=7)
    assert (config.num_codes, config.embedding_dim) == (240, 6)
    assert QuantizerConfig.model_validate_json(config.model_dump_json()) == config
