"""The layers of the network for photographs, against their formulas."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.networks.group_norm import GroupNorm
from models.networks.resnet import Attention, ResidualBlock, Upsampling
from models.precision import precision


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomized(layer: keras.Layer, x: np.ndarray) -> keras.Layer:
    """Built for `x`, all its weights random: fresh ones have offsets of 0 and factors of 1."""
    layer(x)
    for seed, weight in enumerate(layer.weights, start=1):
        weight.assign(random(*weight.shape, seed=seed))
    return layer


def group_norm(layer: GroupNorm, x: np.ndarray, groups: int) -> np.ndarray:
    n, h, w, channels = x.shape
    split = x.astype("float64").reshape(n, h, w, groups, channels // groups)
    mean, variance = (f(split, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    normed = ((split - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    return normed * layer.gamma.numpy() + layer.beta.numpy()


def swish(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def conv3(layer: keras.layers.Conv2D, x: np.ndarray) -> np.ndarray:
    """3×3 with zeros around the image."""
    kernel, (_, height, width, _) = layer.kernel.numpy(), x.shape
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    shifted = [
        padded[:, row : row + height, column : column + width] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    ]
    return sum(shifted) + layer.bias.numpy()


def dense(layer: keras.layers.Dense, x: np.ndarray) -> np.ndarray:
    return x @ layer.kernel.numpy() + layer.bias.numpy()


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (6, 2), (5, 1)])
def test_group_norm(channels, groups):
    x = random(2, 3, 4, channels) + 100.0  # far from 0, as the sum of many blocks may be
    layer = randomized(GroupNorm(), x)
    expected = swish(group_norm(layer, x, groups))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-3)


def test_statistics_are_not_rounded_to_sixteen_bits():
    x = random(2, 8, 8, 8) + 100.0
    with precision("bfloat16"):
        layer = GroupNorm(swish=False, autocast=False)
    found = layer(x)
    assert found.dtype == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    np.testing.assert_allclose(found, group_norm(layer, x, 8), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("units", [8, 12])
def test_residual_block(units):
    x = random(2, 5, 6, 8)
    block = randomized(ResidualBlock(units), x)
    h = conv3(block.conv1, swish(group_norm(block.norm1, x, 8)))
    h = conv3(block.conv2, swish(group_norm(block.norm2, h, 8 if units == 8 else 4)))
    shortcut = x if units == 8 else dense(block.shortcut, x)
    np.testing.assert_allclose(block(x), shortcut + h, rtol=1e-4, atol=1e-4)


def test_attention():
    x = random(2, 3, 4, 8)
    layer = randomized(Attention(8), x)
    flat = group_norm(layer.norm, x, 8).reshape(2, 12, 8)
    query, key, value = (dense(each, flat) for each in (layer.query, layer.key, layer.value))
    logits = np.einsum("npc,nqc->npq", query, key) / np.sqrt(8)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    h = dense(layer.output_projection, np.einsum("npq,nqc->npc", weights, value))
    np.testing.assert_allclose(layer(x), x + h.reshape(x.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (2, 1)])
def test_upsampling(strides):
    x = random(2, 3, 4, 5)
    layer = randomized(Upsampling(5, strides), x)
    repeated = x.repeat(strides[0], axis=1).repeat(strides[1], axis=2)
    np.testing.assert_allclose(layer(x), conv3(layer.conv, repeated), rtol=1e-4, atol=1e-4)
