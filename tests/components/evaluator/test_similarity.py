"""Structural similarity in the gate; a release made before it was measured is compared without."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from pipeline.config import config
from pipeline.config.config import ConfigError
from tests.components.evaluator.judging import as_baseline, judge
from tests.fixtures.examples import write_images

IMAGE = (11, 12, 1)


class Measured(tf.Module):
    """Every image has the same outputs."""

    def __init__(self, **outputs):
        super().__init__()
        self._outputs = {"squared_error": 1.0, "decoder_bits": 1.0, "prior_bits": 1.0, **outputs}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples):
        count = tf.shape(examples)[0]
        found = {name: tf.fill([count], value) for name, value in self._outputs.items()}
        return {
            **found,
            "codes": tf.zeros([count, 4], tf.int32),
            "pixel_sum": tf.random.stateless_uniform([count, 1], [0, 1]),
            "pixel_square_sum": tf.fill([count], 50.0),
            "num_codes": tf.fill([count], 16),
        }


@pytest.fixture
def write(tmp_path):
    def model(name, **outputs):
        module, artifact = Measured(**outputs), standard_artifacts.Model()
        artifact.uri = str(tmp_path / name)
        folder = str(tmp_path / name / "Format-Serving")
        tf.saved_model.save(module, folder, signatures={"evaluate": module.evaluate})
        return artifact

    return model


@pytest.fixture
def examples(tmp_path):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["eval"])
    write_images(Path(artifact.uri), "eval", np.zeros((5, *IMAGE), "uint8"), np.zeros(5, int), 1)
    return artifact


def test_it_is_measured_and_compared(examples, write, tmp_path):
    gate = {"thresholds": {"ssim": {"min": 0.4, "worse_by": 0.1}}}
    baseline = as_baseline(write("before", ssim=0.9), version=2)
    evaluation, _ = judge(tmp_path, examples, write("now", ssim=0.5), gate, IMAGE, baseline)
    assert evaluation.metrics["ssim"] == 0.5
    assert evaluation.baseline["ssim"] == pytest.approx(0.9)
    assert [check.ok for check in evaluation.checks if check.metric == "ssim"] == [True, False]
    assert not evaluation.blessed


def test_a_release_that_does_not_know_it_is_compared_by_the_others(
    examples, write, tmp_path, caplog
):
    gate = {"thresholds": {"ssim": {"min": 0.4, "worse_by": 0.1}, "psnr": {"worse_by": 0.1}}}
    baseline = as_baseline(write("before"), version=2)
    evaluation, _ = judge(tmp_path, examples, write("now", ssim=0.5), gate, IMAGE, baseline)
    assert "ssim" not in evaluation.baseline
    assert math.isfinite(evaluation.baseline["psnr"])
    note = "not compared: release 2 was made before there was this metric"
    found = [(check.rule, check.ok, check.note) for check in evaluation.checks]
    assert found == [("worse_by", True, ""), ("min", True, ""), ("worse_by", True, note)]
    assert "ssim is not compared: release 2 was made before there was this metric." in caplog.text
    assert evaluation.blessed


def test_a_threshold_on_what_small_images_do_not_have_is_refused():
    override = "gate.thresholds.ssim={min: 0.5}"
    with pytest.raises(ConfigError, match=r"thresholds.ssim: images of 8x8 are smaller than the"):
        config.load("digits", (override,))
    assert config.load("fashion_mnist", (override,)).gate.thresholds["ssim"].min == 0.5
