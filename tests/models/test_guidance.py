"""Samples that are guided by their label."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from models import sampler
from models.config import PriorConfig
from models.priors import build_prior

SHAPE, K = (2, 3, 2), 6
LABELS = np.array([-1, 0, 2], "int32")
SIZES = {
    "pixelcnn": {"head_units": 10, "hidden_units": 8},
    "transformer": {"heads": 2, "hidden_units": 16},
}


@pytest.fixture(scope="module", params=SIZES)
def prior(request):
    config = PriorConfig(kind=request.param, layers=2, **SIZES[request.param])
    prior = build_prior(config, K, 3, SHAPE, seed=1)
    random = np.random.default_rng(2)
    for weight in prior.trainable_variables:
        weight.assign(weight + random.normal(0.0, 0.15, weight.shape))
    return prior


@functools.cache
def compiled(prior):
    return tf.function(functools.partial(sampler.sample, prior), reduce_retracing=True)


def sampled(prior, **more):
    more = {name: tf.constant(value) for name, value in more.items()}
    drawn = compiled(prior)(tf.constant(LABELS), tf.constant(1, tf.int64), tf.constant(1.0), **more)
    return drawn.numpy()


def test_the_likeliest_codes_are_those_of_the_formula(prior):
    codes = np.zeros([3, *SHAPE], "int32")
    for place in np.ndindex(SHAPE):
        given = prior(codes, LABELS).numpy()[:, *place]
        hidden = prior(codes, np.full(3, -1)).numpy()[:, *place]
        codes[:, *place] = (hidden + 3.0 * (given - hidden)).argmax(-1)
    found = sampled(prior, top_k=1, guidance=3.0)
    np.testing.assert_array_equal(found, codes)
    assert np.any(found != sampled(prior, top_k=1, guidance=1.0))


def test_one_is_no_guidance_and_what_has_no_label_is_not_guided(prior):
    plain = sampled(prior)
    np.testing.assert_array_equal(sampled(prior, guidance=1.0), plain)
    guided = sampled(prior, guidance=4.0)
    np.testing.assert_array_equal(guided[0], plain[0])
    assert np.any(guided[1:] != plain[1:])


def test_rows_that_are_given_are_kept(prior):
    codes = np.ones([3, *SHAPE], "int32")
    codes[:, 1:] = -1  # not looked at
    continued = sampled(prior, guidance=4.0, codes=codes, rows_given=1)
    np.testing.assert_array_equal(continued[:, :1], codes[:, :1])
    assert continued[:, 1:].min() >= 0
