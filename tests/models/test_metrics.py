"""Metrics equal their formulas over the whole split, however it was cut into batches."""

import math

import numpy as np
import pytest

from models import metrics

K = 16
IMAGE = (4, 6, 3)
CODES = 6


@pytest.fixture
def split():
    """Images in [0, 1], their reconstructions, codes and bits, of 50 images."""
    random = np.random.default_rng(0)
    x = random.random((50, *IMAGE)) * [0.2, 0.5, 1.0]
    y = np.clip(x + random.normal(0, 0.1, x.shape), 0, 1)
    codes = random.choice(K, (50, CODES), p=np.arange(K) / np.arange(K).sum())
    return x, y, codes, random.random(50) * 20, random.random(50) * 300


def outputs(x, y, codes, prior_bits, decoder_bits):
    """As the `evaluate` signature returns them, float32."""
    return {
        "squared_error": ((x - y) ** 2).sum((1, 2, 3)).astype(np.float32),
        "pixel_sum": x.sum((1, 2)).astype(np.float32),
        "pixel_square_sum": (x**2).sum((1, 2, 3)).astype(np.float32),
        "codes": codes.astype(np.int32),
        "prior_bits": prior_bits.astype(np.float32),
        "decoder_bits": decoder_bits.astype(np.float32),
    }


def measure(split, batches):
    sums = metrics.Sums.zero(K, IMAGE)
    for rows in np.array_split(np.arange(len(split[0])), batches):
        sums.update(outputs(*(part[rows] for part in split)))
    return sums


@pytest.mark.parametrize("batches", [1, 7, 50])
def test_every_metric_is_its_formula_over_the_whole_split(split, batches):
    x, y, codes, prior_bits, decoder_bits = split
    frequency = np.bincount(codes.ravel(), minlength=K) / codes.size
    used = frequency[frequency > 0]
    entropy = -np.sum(used * np.log(used))
    assert metrics.summary(measure(split, batches)) == pytest.approx(
        {
            "nmse": np.sum((x - y) ** 2) / np.sum((x - x.mean((0, 1, 2))) ** 2),
            "psnr": 10 * np.log10(255**2 / np.mean((255 * (x - y)) ** 2)),
            "code_usage": np.mean(frequency > 0),
            "perplexity": np.exp(entropy),
            "prior_bits_per_code": prior_bits.sum() / codes.size,
            "prior_bits_per_code_given_label": prior_bits.sum() / codes.size,
            "unigram_bits_per_code": entropy / np.log(2),
            "uniform_bits_per_code": 4.0,
            "bits_per_dim": np.mean((prior_bits + decoder_bits) / x[0].size),
        },
        rel=1e-6,
    )


def test_bits_of_a_prior_that_is_told_the_label(split):
    told = {**outputs(*split), "prior_bits_given_label": split[3] / 2}
    sums = metrics.Sums.zero(K, split[0].shape[1:])
    sums.update(told)
    found = metrics.summary(sums)
    assert found["prior_bits_per_code_given_label"] == pytest.approx(
        found["prior_bits_per_code"] / 2, rel=1e-6
    )


def test_merged_parts_equal_the_whole(split):
    first = measure([part[:20] for part in split], 3)
    first.merge(measure([part[20:] for part in split], 2))
    whole = metrics.summary(measure(split, 1))
    assert metrics.summary(first) == pytest.approx(whole, rel=1e-9)


def test_sums_of_different_models_are_not_added():
    with pytest.raises(ValueError, match="two different models"):
        metrics.Sums.zero(K, IMAGE).merge(metrics.Sums.zero(K + 1, IMAGE))


def test_a_dead_codebook_and_an_even_one():
    sums = metrics.Sums.zero(K, IMAGE)
    sums.update({"codes": np.full((8, CODES), 3)})
    assert metrics.code_usage(sums) == 1 / K
    assert metrics.perplexity(sums) == 1.0
    assert metrics.unigram_bits_per_code(sums) == 0.0
    even = metrics.Sums.zero(K, IMAGE)
    even.update({"codes": np.arange(2 * K).reshape(4, 2, 4) % K})
    assert metrics.code_usage(even) == 1.0
    assert metrics.perplexity(even) == pytest.approx(K)
    assert even.images == 4


def test_of_several_codebooks_each_has_its_usage_and_perplexity():
    codes = np.stack([np.arange(32) % K, np.full(32, 3)], axis=-1).reshape(8, -1)
    sums = metrics.Sums.zero(K, IMAGE, codebooks=2)
    sums.update({"codes": codes[:3]})
    other = metrics.Sums.zero(K, IMAGE, codebooks=2)
    other.update({"codes": codes[3:]})
    sums.merge(other)
    found = metrics.summary(sums)
    expected = {
        **{"code_usage": 17 / (2 * K), "code_usage_1": 1.0, "code_usage_2": 1 / K},
        **{"perplexity": 4.0, "perplexity_1": 16.0, "perplexity_2": 1.0},
        "unigram_bits_per_code": 2.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert metrics.is_metric("perplexity_12")
    assert not metrics.is_metric("nmse_1")
    with pytest.raises(ValueError, match="two different models"):
        sums.merge(metrics.Sums.zero(K, IMAGE))


def test_painting_the_mean_colour_scores_one_and_copying_scores_zero(split):
    x, _, codes, *bits = split
    mean = np.broadcast_to(x.mean((0, 1, 2)), x.shape)
    assert metrics.nmse(measure((x, mean, codes, *bits), 4)) == pytest.approx(1.0)
    copied = measure((x, x, codes, *bits), 4)
    assert metrics.nmse(copied) == 0.0
    assert metrics.psnr(copied) == math.inf


def test_images_without_variance_have_no_nmse(split):
    x, y, codes, *bits = split
    # 0.3 is not a binary fraction, so the float32 sums do not cancel exactly.
    flat = measure((np.full_like(x, 0.3), y, codes, *bits), 5)
    assert math.isnan(metrics.nmse(flat))
    assert math.isfinite(metrics.psnr(flat))


def test_an_empty_split_has_no_values():
    found = metrics.summary(metrics.Sums.zero(K, IMAGE))
    assert found.pop("uniform_bits_per_code") == 4.0
    assert all(math.isnan(value) for value in found.values())


def test_what_was_not_measured_is_nan_and_the_rest_is_not(split):
    known = {name: outputs(*split)[name] for name in ("codes", "prior_bits")}
    sums = metrics.Sums.zero(K, IMAGE)
    sums.update(known)
    found = metrics.summary(sums)
    assert {name for name, value in found.items() if math.isnan(value)} == {
        "nmse",
        "psnr",
        "bits_per_dim",
    }


def test_a_code_outside_the_codebook_is_refused():
    sums = metrics.Sums.zero(K, IMAGE)
    for codes in ([[K]], [[-1]]):
        with pytest.raises(ValueError, match=r"`codes` must be in \[0, 16\)"):
            sums.update({"codes": codes})


def test_tensors_are_taken_as_they_are(split):
    tf = pytest.importorskip("tensorflow")
    sums = metrics.Sums.zero(K, IMAGE)
    sums.update({name: tf.constant(value) for name, value in outputs(*split).items()})
    assert metrics.summary(sums) == pytest.approx(metrics.summary(measure(split, 1)))


def test_similarity_is_the_mean_of_images_that_are_large_enough():
    codes = np.zeros((2, CODES), int)
    sums = metrics.Sums.zero(K, (11, 12, 3))
    sums.update({"codes": codes, "ssim": np.array([0.5, 1.0], np.float32)})
    other = metrics.Sums.zero(K, (11, 12, 3))
    other.update({"codes": codes[:1], "ssim": np.array([0.0], np.float32)})
    sums.merge(other)
    assert metrics.summary(sums)["ssim"] == 0.5
    assert "ssim" not in metrics.summary(metrics.Sums.zero(K, (10, 12, 3)))
