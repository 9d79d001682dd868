"""The configurations that ship: a few steps of each, through the pipeline to a release.

The VQ-VAEs are as large as they ship; batches, the prior and the number of steps are small, and so
is the network for photographs. `make run` and its tests have the digits' own.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.commands import vqvae

SMALL = {
    "training.vqvae.steps": 20,
    "training.prior.steps": 20,
    "training.prior.batch_size": 4,
    "model.quantizer.kmeans_iterations": 0,
    "prior.layers": 2,
    "prior.hidden_units": 8,
    "prior.head_units": 8,
    "gate.thresholds": "{nmse: {max: 1.0e+6}}",
}
CONFIGS = {
    "mnist": {"image": [28, 28], "batch_size": 4},
    "fashion_mnist": {"image": [28, 28], "batch_size": 4},
    "cifar10_small": {"image": [32, 32, 3], "batch_size": 4},
    "cifar10": {"image": [32, 32, 3], "batch_size": 4},
    "imagenet128": {"image": [128, 128, 3], "batch_size": 1},
    "photos_256": {
        "image": [32, 64, 3],
        "batch_size": 4,
        "set": {
            "data.image": "{height: 32, width: 64, channels: 3}",
            "model.encoder.hidden_units": 8,
            "model.encoder.residual_blocks": 1,
            "model.decoder.residual_blocks": 1,
            "model.quantizer.num_codes": 512,
        },
    },
}


def write_noise(folder: Path, shape: list[int], train: int = 24, held_out: int = 4) -> None:
    """Random images of two classes, as a user would bring them."""
    import tensorflow as tf
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("eval", held_out)):
        (folder / split).mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / split / "noise.tfrecord")) as writer:
            for index in range(count):
                png = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, shape, "uint8")).save(png, "PNG")
                image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png.getvalue()]))
                label = tf.train.Feature(int64_list=tf.train.Int64List(value=[index % 2]))
                features = tf.train.Features(feature={"image": image, "label": label})
                example = tf.train.Example(features=features)
                writer.write(example.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_twenty_steps_end_in_a_release(name, tmp_path):
    from pipeline.config import config

    expected = CONFIGS[name]
    write_noise(tmp_path / "data", expected["image"])
    small = expected.get("set", {})
    settings = SMALL | small | {"training.vqvae.batch_size": expected["batch_size"]}
    changes = [f"--set={key}={value}" for key, value in settings.items()]
    # In this process, which has imported everything already.
    root = tmp_path / "run"
    vqvae("run", "--config", name, "--data", tmp_path / "data", "--root", root, *changes)
    assert "vqvae: step 20/20" in (root / "logs" / "run.log").read_text()
    serving = root / "serving"
    metrics = json.loads((serving / "releases" / "1.json").read_text())["metrics"]
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    chosen = config.load(name, tuple(f"{key}={value}" for key, value in small.items()))
    num_codes = chosen.network.model.quantizer.num_codes
    assert metrics["uniform_bits_per_code"] == math.log2(num_codes)
    # No model spends less than eight bits on a value of noise, and none should spend far more.
    assert 7.9 < metrics["bits_per_dim"] < 12

    import tensorflow as tf

    decode = tf.saved_model.load(str(serving / "decode" / "1"))
    codes = tf.zeros([1, *chosen.network.code_shape], tf.int32)
    images = decode.signatures["serving_default"](codes=codes)["images"]
    assert images.shape == (1, *chosen.data.image.hwc)
    assert images.dtype == tf.uint8


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar10_small", "imagenet128", "mnist", "photos_256", "speech"]
)
def test_the_configurations_ship(name):
    from pipeline.config import config

    assert name in config.shipped()
    assert config.load(name).name == name.replace("_", "-")


def test_cifar10_is_the_papers():
    from pipeline.config import config

    cifar = config.load("cifar10")
    stage, model = cifar.training.vqvae, cifar.model
    assert (stage.steps, stage.batch_size, stage.learning_rate) == (250_000, 128, 2e-4)
    assert (stage.warmup, stage.final_learning_rate) == (0.0, 1.0)
    encoder = model.encoder
    assert (encoder.first_units, encoder.hidden_units, encoder.residual_units) == (256, 256, 256)
    assert encoder.residual_blocks == 2
    assert (model.quantizer.num_codes, model.quantizer.commitment) == (512, 0.25)
    assert model.decoder.likelihood == "categorical"
    assert cifar.network.code_shape == (8, 8, 10)


def test_photos_256_has_the_network_for_photographs():
    from pipeline.config import config

    photos = config.load("photos_256")
    assert photos.model.encoder.kind == "resnet"
    assert photos.network.code_shape == (32, 32)
    assert photos.training.vqvae.batch_size * 256 * 256 * 128 * 4 == 2**30  # as it says


def test_imagenet128_has_the_papers_codes():
    from pipeline.config import config

    imagenet = config.load("imagenet128")
    assert imagenet.network.code_shape == (32, 32)
    assert imagenet.model.quantizer.num_codes == 512
    bits = 8 * imagenet.data.image.size / (32 * 32 * math.log2(512))
    assert round(bits, 1) == 42.7  # the paper cuts it to 42.6
