"""The incremental sampler: the network's own logits, completion, the served signatures."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from models import sampler
from models.config import (
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.draws import draw, noise
from models.export import export_release
from models.medium import image_medium
from models.priors import GatedPixelCNN
from models.sampler import generate
from models.vqvae import VQVAE
from tests.fixtures.gpu_kernels import copied_to_the_host, without_gpu_kernel

ROWS, COLUMNS, K = 4, 5, 6
LABELS = np.array([-1, 0, 2], "int32")


def network(layers=3, kernel_size=3, classes=3, shape=(ROWS, COLUMNS), num_codes=K):
    config = PriorConfig(layers=layers, hidden_units=8, head_units=10, kernel_size=kernel_size)
    prior = GatedPixelCNN(config, num_codes, classes, shape, seed=1)
    # Fresh networks are nearly uniform and without biases; these show every dependence.
    random = np.random.default_rng(2)
    # Logits of at most a few tens, of which float32 resolves 1e-4 with room to spare.
    spread, factor = (0.2 if prior.groups == 1 else 0.1), 2.0
    if layers > 6:
        spread, factor = 0.05, 1.0
    for weight in prior.trainable_variables:
        weight.assign(factor * weight + random.normal(0.0, spread, weight.shape))
    return prior


@pytest.fixture(scope="module", params=[1, 3], ids=["one code", "3 codes"])
def groups(request):
    """Codes per position."""
    return request.param


@pytest.fixture(scope="module")
def code_shape(groups):
    return (ROWS, COLUMNS) if groups == 1 else (ROWS, COLUMNS, groups)


@pytest.fixture(scope="module")
def prior(code_shape):
    return network(shape=code_shape)


def random_codes(count, shape, num_codes=K):
    return np.random.default_rng(0).integers(0, num_codes, (count, *shape)).astype("int32")


def sampled(prior, labels=LABELS, seed=1, temperature=1.0, **controls):
    controls = {name: tf.constant(value) for name, value in controls.items()}
    seed = tf.constant(seed, tf.int64)
    temperature = tf.constant(temperature)
    return compiled(prior)(tf.constant(labels), seed, temperature, **controls).numpy()


@functools.cache
def compiled(prior):
    return tf.function(functools.partial(sampler.sample, prior), reduce_retracing=True)


@pytest.mark.parametrize(
    ("layers", "kernel_size", "classes", "shape"),
    [
        (1, 3, 0, (4, 5)),
        (3, 3, 3, (4, 5)),
        (12, 3, 3, (7, 7)),
        (3, 5, 3, (6, 4)),
        (2, 7, 0, (5, 2)),  # kernels that reach further than the grid
        (2, 3, 3, (1, 1)),
        (3, 3, 3, (4, 5, 4)),
        (3, 5, 0, (6, 4, 2)),
        (3, 3, 3, (5, 5, 10)),
        (6, 3, 3, (4, 4, 2)),
        (2, 3, 3, (1, 1, 3)),
    ],
)
@pytest.mark.parametrize("rows_given", [0, 2])
def test_logits_are_those_of_the_whole_network(layers, kernel_size, classes, shape, rows_given):
    prior = network(layers, kernel_size, classes, shape)
    labels = LABELS if classes else np.full(3, -1, "int32")
    codes = random_codes(3, shape)
    by_index = tf.constant(codes.reshape(3, -1).T, tf.int64)
    logits = tf.Variable(tf.fill([*by_index.shape, K], np.nan))

    @tf.function
    def follow(codes):
        def select(index, logits_here):
            logits.scatter_nd_update([[index]], [logits_here])
            return tf.gather(by_index, index)

        return generate(prior.start(labels), select, codes, rows_given)

    beginning = codes.copy()
    beginning[:, rows_given:] = -1  # not looked at
    np.testing.assert_array_equal(follow(beginning), codes)
    expected = prior(codes, labels).numpy()
    assert np.std(expected) > 0.1
    expected[:, :rows_given] = np.nan  # nothing is computed for rows that are given
    found = logits.numpy().transpose(1, 0, 2).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("controls", [{}, {"top_k": 3, "top_p": 0.8}])
def test_samples_are_those_of_the_network_run_for_each_code(prior, code_shape, controls):
    temperature, seed = 0.9, 5
    codes = np.zeros([3, *code_shape], "int32")
    uniform = noise(seed, 3, codes[0].size).numpy()
    for index, place in enumerate(np.ndindex(code_shape)):
        logits = prior(codes, LABELS)[:, *place]
        codes[:, *place] = draw(logits, uniform[:, index], temperature, **controls)
    np.testing.assert_array_equal(sampled(prior, LABELS, seed, temperature, **controls), codes)


def test_eager_and_graph_and_xla_draw_the_same(prior, code_shape):
    uniform = noise(3, 3, math.prod(code_shape))

    def drawn():
        def select(index, logits):
            return draw(logits, uniform[:, index], 1.0, 4, 0.9)

        return generate(prior.start(LABELS), select, tf.zeros([3, *code_shape], tf.int32))

    eager = drawn().numpy()
    np.testing.assert_array_equal(eager, tf.function(drawn)())
    np.testing.assert_array_equal(eager, tf.function(drawn, jit_compile=True)())


def test_an_image_does_not_depend_on_the_others_of_its_batch(prior):
    labels = np.arange(40, dtype="int32") % 4 - 1
    many = sampled(prior, labels)
    for count in (1, 3, 17):
        np.testing.assert_array_equal(sampled(prior, labels[:count]), many[:count])


def test_images_of_one_batch_differ(prior):
    drawn = sampled(prior, np.zeros(8, "int32"), temperature=3.0)
    assert len({image.tobytes() for image in drawn}) == 8


@pytest.mark.parametrize("rows_given", range(ROWS + 1))
def test_the_rows_given_are_kept_and_continued_as_they_would_have_been(prior, rows_given):
    whole = sampled(prior, seed=7)
    beginning = whole.copy()
    beginning[:, rows_given:] = -1  # not looked at
    np.testing.assert_array_equal(
        sampled(prior, seed=7, codes=beginning, rows_given=rows_given), whole
    )
    other = random_codes(3, prior.code_shape)
    continued = sampled(prior, seed=7, codes=other, rows_given=rows_given)
    np.testing.assert_array_equal(continued[:, :rows_given], other[:, :rows_given])


def test_a_completion_follows_the_rows_given(prior):
    codes = np.zeros([3, *prior.code_shape], "int32")
    one = sampled(prior, codes=codes, rows_given=1)
    two = sampled(prior, codes=codes + 1, rows_given=1)
    assert np.any(one[:, 1:] != two[:, 1:])


def traced(prior, *controls):
    """The graph that draws, of any number of images."""
    plain = (tf.int32, [None]), (tf.int64, []), (tf.float32, [])
    specs = [tf.TensorSpec(shape, dtype) for dtype, shape in (*plain, *controls)]
    return tf.function(functools.partial(sampler.sample, prior)).get_concrete_function(*specs)


@pytest.mark.parametrize("num_codes", [K, 200])  # few and many are drawn in two ways
def test_a_gpu_draws_without_waiting_for_the_host_at_each_code(code_shape, num_codes):
    prior = network(2, shape=code_shape, num_codes=num_codes)
    given = (tf.int32, [None, *code_shape]), (tf.int32, [])
    for controls in ((), ((tf.int32, []), (tf.float32, []), *given)):
        function = traced(prior, *controls)
        assert not without_gpu_kernel(function)
        assert not copied_to_the_host(function)


def test_a_batch_on_the_host_is_found():
    def count(codes):
        return tf.while_loop(lambda c: tf.reduce_any(c > 0), lambda c: [tf.minimum(c, 3)], [codes])

    for dtype, found in ((tf.int32, True), (tf.int64, False)):
        function = tf.function(count).get_concrete_function(tf.TensorSpec([None], dtype))
        assert bool(copied_to_the_host(function)) == found


def black(encoded):
    """What is put in front of the encoder, which is of no interest here."""
    return tf.zeros([tf.shape(encoded)[0], 2 * ROWS, 2 * COLUMNS, 1], tf.uint8)


@pytest.fixture(scope="module")
def served(tmp_path_factory, prior, groups):
    """The signatures of a released `sample`, loaded without our code."""
    folder = tmp_path_factory.mktemp("models")
    settings = NetworkConfig(
        image=ImageShape(height=2 * ROWS, width=2 * COLUMNS, channels=1),
        model=ModelConfig(
            encoder=EncoderConfig(
                downsampling=2, hidden_units=4, residual_blocks=0, residual_units=2
            ),
            quantizer=QuantizerConfig(num_codes=K, embedding_dim=2 * groups, groups=groups),
        ),
    )
    export_release(
        VQVAE(settings, data_variance=0.1),
        prior,
        medium=image_medium(black),
        preprocess_resources=tf.Module(),
        parse=lambda examples: {"image": black(examples)},
        combined=str(folder / "combined"),
        release=str(folder / "release"),
    )
    return tf.saved_model.load(str(folder / "release" / "sample")).signatures


def call(served, signature, **changes):
    """Calls a signature; what is not in `changes` asks for nothing in particular."""
    code_shape = served["complete"].structured_input_signature[1]["codes"].shape[1:]
    inputs = {
        "labels": np.array([-1, 2], "int32"),
        "seed": np.int64(3),
        "temperature": np.float32(1.0),
        "top_k": np.int32(0),
        "top_p": np.float32(1.0),
        "codes": np.zeros([2, *code_shape], "int32"),
        "rows_given": np.int32(0),
        "guidance": np.float32(1.0),
    } | changes
    names = served[signature].structured_input_signature[1]
    return served[signature](**{name: tf.constant(inputs[name]) for name in names})


def test_served_signatures_ask_for_more_and_more(served, prior):
    drawing = [name for name in served if name != "identity"]
    inputs = {name: set(served[name].structured_input_signature[1]) for name in drawing}
    plain = {"labels", "seed", "temperature"}
    assert inputs == {
        "serving_default": plain,
        "controlled": plain | {"top_k", "top_p"},
        "complete": plain | {"top_k", "top_p", "codes", "rows_given"},
        "guided": plain | {"top_k", "top_p", "guidance"},
    }
    expected = sampled(prior, np.array([-1, 2], "int32"), seed=3)
    for signature in inputs:
        outputs = call(served, signature)
        np.testing.assert_array_equal(outputs["codes"], expected)
        assert outputs["images"].shape == (2, 2 * ROWS, 2 * COLUMNS, 1)


def test_served_controls_and_completion_act(served, prior):
    labels = np.array([-1, 2], "int32")
    greedy = call(served, "controlled", top_k=np.int32(1))["codes"]
    np.testing.assert_array_equal(greedy, sampled(prior, labels, temperature=1e-6))
    codes = random_codes(2, prior.code_shape)
    completed = call(served, "complete", codes=codes, rows_given=np.int32(2))["codes"]
    np.testing.assert_array_equal(completed[:, :2], codes[:, :2])
    expected = sampled(prior, labels, seed=3, codes=codes, rows_given=2)
    np.testing.assert_array_equal(completed, expected)


@pytest.mark.parametrize("signature", ["serving_default", "controlled", "complete", "guided"])
def test_no_labels_are_no_images(served, prior, signature):
    nothing = np.zeros([0, *prior.code_shape], "int32")
    drawn = call(served, signature, labels=np.zeros([0], "int32"), codes=nothing)
    assert drawn["images"].shape == (0, 2 * ROWS, 2 * COLUMNS, 1)
    assert drawn["codes"].shape == nothing.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([0, 3], "int32")}, r"labels must be -1 \(unconditional\) to 2"),
        ({"labels": np.zeros([2, 1], "int32")}, "labels"),
        ({"temperature": np.float32(0)}, "temperature must be finite and above 0"),
        ({"temperature": np.float32("nan")}, "temperature must be finite and above 0"),
        ({"top_k": np.int32(-1)}, "top_k must be 0"),
        ({"top_p": np.float32(0)}, "top_p must be above 0 and at most 1"),
        ({"top_p": np.float32("nan")}, "top_p must be above 0 and at most 1"),
        ({"guidance": np.float32(-0.5)}, "guidance must be finite and at least 0"),
        ({"guidance": np.float32("inf")}, "guidance must be finite and at least 0"),
        ({"rows_given": np.int32(ROWS + 1)}, f"rows_given must be 0 to {ROWS}"),
        ({"rows_given": np.int32(-1)}, f"rows_given must be 0 to {ROWS}"),
        (
            {"codes": np.full([2, ROWS, COLUMNS], K, "int32"), "rows_given": np.int32(1)},
            f"codes must be 0 to {K - 1}",
        ),
        ({"codes": np.zeros([3, ROWS, COLUMNS], "int32")}, "codes must be as many images"),
        ({"codes": np.zeros([2, ROWS], "int32")}, "codes"),
    ],
)
@pytest.mark.parametrize("groups", [1], scope="module")
def test_what_cannot_be_used_is_refused_by_name(served, changes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(served, "guided" if "guidance" in changes else "complete", **changes)
