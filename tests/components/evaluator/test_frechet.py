"""Fréchet distances of a candidate and of the last release, in the features of a SavedModel."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components.errors import PipelineError
from components.evaluator import feature_model
from components.evaluator.gate import GateConfig
from models.frechet import FeatureSums, frechet_distance
from tests.components.evaluator.judging import as_baseline, judge
from tests.fixtures.examples import write_images

SIDE, IMAGES, CLASSES = 4, 37, 2
IMAGE = (SIDE, SIDE, 1)


class Coder(tf.Module):
    """Codes are pixels in steps; samples are noise around the label, from the seed."""

    def __init__(self, step, tells_classes=True):
        super().__init__()
        self._step, self._tells = step, tells_classes

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples):
        parsed = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        pixels = tf.cast(tf.io.decode_raw(parsed["image"], tf.uint8), tf.int32)
        one = tf.ones([len(examples)])
        told = {"num_classes": tf.fill([len(examples)], CLASSES)} if self._tells else {}
        return {
            "squared_error": one,
            "pixel_sum": tf.cast(tf.reduce_sum(pixels, 1, keepdims=True), tf.float32),
            "pixel_square_sum": tf.cast(tf.reduce_sum(pixels**2, 1), tf.float32),
            "codes": tf.reshape(pixels // self._step, [-1, SIDE * SIDE]),
            "prior_bits": one,
            "decoder_bits": one,
            "num_codes": tf.fill([len(examples)], 256 // self._step),
            **told,
        }

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE], tf.int32, name="codes")])
    def decode(self, codes):
        return {"images": tf.cast(codes[..., None] * self._step, tf.uint8)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, name="labels"),
            tf.TensorSpec([], tf.int64, name="seed"),
            tf.TensorSpec([], tf.float32, name="temperature"),
        ]
    )
    def sample(self, labels, seed, temperature):
        tf.debugging.assert_less(labels, CLASSES)
        key = tf.stack([seed, tf.constant(0, tf.int64)])
        noise = tf.random.stateless_uniform([len(labels), *IMAGE], key) * 100.0
        images = noise + 50.0 * tf.cast(labels + 1, tf.float32)[:, None, None, None]
        return {"images": tf.cast(images, tf.uint8)}


class Features(tf.Module):
    """Means of the rows, and how they differ."""

    def __init__(self, dtype):
        super().__init__()
        spec = tf.TensorSpec([None, None, None, 1], dtype, name="pictures")
        self.serve = tf.function(self._serve, input_signature=[spec])

    def _serve(self, pictures):
        grey = tf.cast(pictures, tf.float32) / (1.0 if pictures.dtype == tf.float32 else 255.0)
        return {"features": tf.ensure_shape(tf.reduce_mean(grey, [2, 3]), [None, SIDE])}


def expected(one, other):
    sums = []
    for images in (one, other):
        sums.append(FeatureSums.zero(SIDE))
        sums[-1].update(images.astype("float64").mean((2, 3)) / 255.0)
    return frechet_distance(*sums)


def save(folder, module, **signatures):
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("frechet")

    def coder(name, **settings):
        module, artifact = Coder(**settings), standard_artifacts.Model()
        artifact.uri = str(root / name)
        signatures = {"evaluate": module.evaluate, "decode": module.decode, "sample": module.sample}
        save(root / name / "Format-Serving", module, **signatures)
        return artifact

    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *IMAGE), "uint8")
    labels = np.arange(IMAGES) % 3  # training has not seen the last one
    examples = standard_artifacts.Examples()
    examples.uri = str(root / "examples")
    examples.split_names = artifact_utils.encode_split_names(["eval"])
    write_images(Path(examples.uri), "eval", images, labels, 3)
    network = Features(tf.uint8)
    return {
        "examples": examples,
        "images": images,
        "now": coder("now", step=64),
        "before": coder("before", step=16, tells_classes=False),
        "features": save(root / "features", network, serving_default=network.serve),
    }


def test_distances_of_the_whole_split_are_compared_with_the_last_release(places, tmp_path, caplog):
    gate = {
        "features": places["features"],
        "thresholds": {
            "rfid": {"max": 1.0, "worse_by": 0.0},
            "fid": {"min": 0.001, "worse_by": 0.0},
            "fid_images": {"min": 30},
        },
    }
    baseline = as_baseline(places["before"], version=1)
    found, _ = judge(tmp_path, places["examples"], places["now"], gate, IMAGE, baseline, 4, 8)
    again, _ = judge(
        tmp_path / "again", places["examples"], places["now"], gate, IMAGE, baseline, 4, 8
    )
    images = places["images"]
    for step, metrics in ((64, found.metrics), (16, found.baseline)):
        reconstructed = images // step * step
        assert metrics["rfid"] == pytest.approx(expected(images, reconstructed), rel=1e-4)
        assert metrics["fid_images"] == IMAGES
    assert found.metrics["fid"] == again.metrics["fid"] > 0.001
    assert "fid" not in found.baseline
    assert "fid is not compared: release 1 was made before" in caplog.text
    rules = {(check.metric, check.rule): check.ok for check in found.checks}
    assert rules == {
        **{("rfid", "max"): True, ("rfid", "worse_by"): False},
        **{("fid", "min"): True, ("fid", "worse_by"): True, ("fid_images", "min"): True},
    }
    assert set(found.by_label) == {0, 1, 2}
    assert not {"rfid", "fid", "fid_images"} & set(found.by_label[0])


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_the_network_is_given_images_as_it_takes_them(dtype, tmp_path, places):
    module = Features(dtype)
    network = feature_model.FeatureModel(
        save(tmp_path, module, serving_default=module.serve), IMAGE
    )
    images = np.concatenate([places["images"]] * 2)
    np.testing.assert_allclose(network(images), images.mean((2, 3)) / 255.0, atol=1e-6)


def test_what_is_no_such_network_is_one_line(tmp_path, places):
    with pytest.raises(PipelineError, match="there is none that can be read"):
        feature_model.check(str(tmp_path), IMAGE)
    with pytest.raises(PipelineError, match=r"4×4×3\. .* has uint8 .*, 1\) -> float \(None, 4\)$"):
        feature_model.check(places["features"], (4, 4, 3))
    with pytest.raises(PipelineError, match="has no such one"):
        feature_model.check(str(Path(places["now"].uri, "Format-Serving")), IMAGE)
    with pytest.raises(ValueError, match=r"rfid needs gate\.features"):
        GateConfig.model_validate({"thresholds": {"rfid": {"max": 1.0}}})
    first = feature_model.fingerprint(places["features"])
    assert first == feature_model.fingerprint(places["features"]) != ""
    assert feature_model.fingerprint("s3://bucket/it") == ""
