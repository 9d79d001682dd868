"""The gate: metrics equal numpy over the whole split, and only models that meet it are blessed."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from components.errors import PipelineError
from components.evaluator import component, results
from components.evaluator.eval_config import eval_config
from components.evaluator.gate import GateConfig
from components.kinds import AudioKind
from models.metrics import formulas
from tests.components.evaluator.judging import as_baseline, judge, of_images
from tests.fixtures.examples import write_images

HEIGHT = WIDTH = 8
SIZE = HEIGHT * WIDTH
LABELS = 3
IMAGES = 100
SHARDS = 2


class Quantizer(tf.Module):
    """A VQ-VAE of one multiplication: a code is the mean of a 2×2 block, in K even steps."""

    def __init__(self, num_codes, bits_per_code=2.0, unknown=False):
        super().__init__()
        self._num_codes = num_codes
        self._bits_per_code = bits_per_code
        self._unknown = unknown

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples):
        parsed = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        raw = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, HEIGHT, WIDTH, 1])
        pixels = tf.cast(raw, tf.float32)
        step = 256.0 / self._num_codes
        blocks = tf.nn.avg_pool2d(pixels, 2, 2, "VALID")
        codes = tf.cast(blocks / step, tf.int32)
        decoded = tf.cast((tf.cast(codes, tf.float32) + 0.5) * step, tf.uint8)
        decoded = tf.cast(tf.repeat(tf.repeat(decoded, 2, 1), 2, 2), tf.float32)
        squared_error = tf.reduce_sum(((pixels - decoded) / 255.0) ** 2, [1, 2, 3])
        prior_bits = tf.fill([tf.shape(raw)[0]], 16.0 * self._bits_per_code)
        return {
            "squared_error": squared_error,
            "pixel_sum": tf.reduce_sum(pixels / 255.0, [1, 2]),
            "pixel_square_sum": tf.reduce_sum((pixels / 255.0) ** 2, [1, 2, 3]),
            "codes": tf.reshape(codes, [-1, 16]),
            "prior_bits": prior_bits * math.nan if self._unknown else prior_bits,
            "decoder_bits": 100.0 + squared_error,
            "num_codes": tf.fill([tf.shape(raw)[0]], self._num_codes),
        }


def quantize(images, num_codes):
    """Codes [N, 4, 4] and reconstructions, uint8 [N, 8, 8], of the same model in numpy."""
    step = 256.0 / num_codes
    blocks = images.reshape(-1, 4, 2, 4, 2).astype(np.float32).mean((2, 4))
    codes = (blocks / step).astype(int)
    decoded = ((codes + 0.5) * step).astype(np.uint8)
    return codes, decoded.repeat(2, 1).repeat(2, 2)


def expected(images, num_codes, bits_per_code=2.0):
    """All metrics, written out over the whole split at once."""
    codes, decoded = quantize(images, num_codes)
    x, y = images / 255.0, decoded / 255.0
    error = np.sum((x - y) ** 2)
    frequency = np.unique(codes, return_counts=True)[1] / codes.size
    entropy = -np.sum(frequency * np.log(frequency))
    return {
        "nmse": error / np.sum((x - x.mean()) ** 2),
        "psnr": 20 * np.log10(255) - 10 * np.log10(np.mean((x - y) ** 2) * 255**2),
        "code_usage": len(frequency) / num_codes,
        "perplexity": np.exp(entropy),
        "prior_bits_per_code": bits_per_code,
        "prior_bits_per_code_given_label": bits_per_code,
        "unigram_bits_per_code": np.log2(np.exp(entropy)),
        "uniform_bits_per_code": np.log2(num_codes),
        "bits_per_dim": (16 * bits_per_code + 100 + error / len(images)) / SIZE,
    }


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = random.integers(0, LABELS, IMAGES)
    tint = random.integers(0, 120, (IMAGES, 1, 1)) + 40 * labels[:, None, None]
    noise = random.integers(0, 56, (IMAGES, HEIGHT, WIDTH))
    return (tint + noise).astype(np.uint8), labels


def write_examples(folder, images, labels):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    write_images(Path(artifact.uri), "eval", images[..., np.newaxis], labels, SHARDS)
    return artifact


def write_model(folder, **kwargs):
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    module = Quantizer(**kwargs)
    tf.saved_model.save(
        module, str(folder / "Format-Serving"), signatures={"evaluate": module.evaluate}
    )
    return artifact


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "good": write_model(root / "good", num_codes=16),
        "fine": write_model(root / "fine", num_codes=2**14),
        "coarse": write_model(root / "coarse", num_codes=4),
        "free": write_model(root / "free", num_codes=16, bits_per_code=0.0),
        "unknown": write_model(root / "unknown", num_codes=16, unknown=True),
    }


@pytest.fixture(scope="module")
def examples(data, tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("data"), *data)


@pytest.fixture
def evaluate(examples, tmp_path):
    """Runs the executor as TFX would and returns (Evaluation, blessing artifact)."""

    def run(model, gate, baseline=None, examples=examples, num_codes=16):
        image = (HEIGHT, WIDTH, 1)
        return judge(tmp_path, examples, model, {"thresholds": gate}, image, baseline, num_codes)

    return run


def checks(evaluation):
    return {(check.metric, check.rule): check for check in evaluation.checks}


def test_metrics_of_the_whole_split_and_of_each_label_equal_numpy(evaluate, models, data):
    images, labels = data
    # A label uses fewer codes than the split; the gate looks at the split only.
    gate = {"nmse": {"min": 0.0, "max": 0.1}, "code_usage": {"min": 0.9}}
    evaluation, blessing = evaluate(models["good"], gate)
    assert list(evaluation.metrics) == list(formulas((HEIGHT, WIDTH, 1)))
    assert evaluation.metrics == pytest.approx(expected(images, 16), rel=1e-5)
    assert list(evaluation.by_label) == [0, 1, 2]
    for label, found in evaluation.by_label.items():
        assert found == pytest.approx(expected(images[labels == label], 16), rel=1e-5)
        assert found["code_usage"] < 0.9
    assert evaluation.baseline is None
    assert [(c.metric, c.rule, c.limit, c.ok) for c in evaluation.checks] == [
        ("nmse", "min", 0.0, True),
        ("nmse", "max", 0.1, True),
        ("code_usage", "min", 0.9, True),
    ]
    assert evaluation.blessed
    assert Path(blessing.uri, "BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("current_model") == models["good"].uri


def test_codes_of_a_large_codebook_are_counted_over_the_whole_split_alone(evaluate, models, data):
    images, labels = data
    evaluation, _ = evaluate(models["fine"], {"nmse": {"max": 0.1}}, num_codes=2**14)
    assert evaluation.blessed
    assert evaluation.metrics == pytest.approx(expected(images, 2**14), rel=1e-5, abs=1e-9)
    spread = {"code_usage", "perplexity", "unigram_bits_per_code"}
    for label, found in evaluation.by_label.items():
        assert {name for name, value in found.items() if np.isnan(value)} == spread
        of_label = expected(images[labels == label], 2**14)
        assert found["prior_bits_per_code"] == pytest.approx(of_label["prior_bits_per_code"])


def test_a_missed_threshold_refuses_the_model(evaluate, models):
    gate = {"nmse": {"max": 0.001}, "psnr": {"min": 30.0}}
    evaluation, blessing = evaluate(models["coarse"], gate, num_codes=4)
    assert not evaluation.blessed
    assert not checks(evaluation)["nmse", "max"].ok
    assert not checks(evaluation)["psnr", "min"].ok
    assert checks(evaluation)["psnr", "min"].value == evaluation.metrics["psnr"]
    assert not Path(blessing.uri, "BLESSED").exists()
    assert Path(blessing.uri, "NOT_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 0


def test_a_model_worse_than_the_release_is_refused(evaluate, models, data):
    baseline = as_baseline(models["good"], version=3)
    gate = {
        "nmse": {"worse_by": 0.05},
        "psnr": {"worse_by": 0.05},
        "code_usage": {"worse_by": 0.05},
        "prior_bits_per_code": {"worse_by": 0.0},
    }
    evaluation, blessing = evaluate(models["coarse"], gate, baseline, num_codes=4)
    # Each model is measured with its own number of codes.
    assert evaluation.metrics == pytest.approx(expected(data[0], 4), rel=1e-5)
    assert evaluation.baseline == pytest.approx(expected(data[0], 16), rel=1e-5)
    assert evaluation.baseline_version == 3
    found = checks(evaluation)
    assert not found["nmse", "worse_by"].ok  # lower is better
    assert not found["psnr", "worse_by"].ok  # higher is better
    assert found["code_usage", "worse_by"].ok  # it uses all of its 4
    assert found["prior_bits_per_code", "worse_by"].ok  # equal is not worse
    assert found["nmse", "worse_by"].baseline == evaluation.baseline["nmse"]
    assert not evaluation.blessed
    assert blessing.get_string_custom_property("baseline_model") == baseline.uri
    assert blessing.get_int_custom_property("baseline_version") == 3


def test_a_model_better_than_the_release_is_blessed(evaluate, models):
    baseline = as_baseline(models["coarse"], version=1)
    gate = {"nmse": {"worse_by": -0.5}, "psnr": {"worse_by": -0.1}}  # asks for an improvement
    evaluation, _ = evaluate(models["good"], gate, baseline)
    assert all(check.ok for check in evaluation.checks)
    assert evaluation.blessed


def test_of_equal_values_none_is_worse_or_improved_and_zero_compares_with_nothing(evaluate, models):
    baseline = as_baseline(models["free"], version=1)
    gate = {
        "nmse": {"worse_by": 0.0},
        "perplexity": {"worse_by": 0.0},
        "psnr": {"worse_by": -0.01},
        "prior_bits_per_code": {"worse_by": 0.1},
    }
    evaluation, _ = evaluate(models["good"], gate, baseline)
    found = checks(evaluation)
    assert found["nmse", "worse_by"].ok
    assert found["perplexity", "worse_by"].ok
    assert not found["psnr", "worse_by"].ok
    zero = found["prior_bits_per_code", "worse_by"]
    assert not zero.ok
    assert "scores 0.0" in zero.note
    assert not evaluation.blessed


def test_a_model_without_a_value_is_refused_whatever_the_gate_names(evaluate, models):
    evaluation, blessing = evaluate(models["unknown"], {"nmse": {"max": 1.0}})
    found = checks(evaluation)
    assert found["nmse", "max"].ok
    assert not found["prior_bits_per_code", "number"].ok
    assert not found["bits_per_dim", "number"].ok
    assert math.isnan(evaluation.metrics["bits_per_dim"])
    assert not evaluation.blessed
    assert Path(blessing.uri, "NOT_BLESSED").exists()


def test_without_a_release_and_without_labels_absolute_thresholds_decide(
    evaluate, models, data, tmp_path, caplog
):
    unlabelled = write_examples(tmp_path, data[0], np.full(IMAGES, -1))
    none = standard_artifacts.Model()
    none.uri = str(tmp_path)
    baseline = as_baseline(none, 0, "nothing has been released yet")
    gate = {"nmse": {"max": 0.1, "worse_by": -0.99}}
    evaluation, blessing = evaluate(models["good"], gate, baseline, unlabelled)
    assert evaluation.by_label == {}
    assert evaluation.blessed
    assert (evaluation.baseline, evaluation.baseline_version) == (None, 0)
    check = checks(evaluation)["nmse", "worse_by"]
    assert (check.ok, check.baseline) == (True, None)
    assert check.note == "not compared: nothing has been released yet"
    assert "nothing has been released yet" in caplog.text
    reason = blessing.get_string_custom_property("baseline_reason")
    assert reason == "nothing has been released yet"


def test_an_empty_split_is_never_blessed(evaluate, models, data, tmp_path):
    empty = write_examples(tmp_path, data[0][:0], data[1][:0])
    evaluation, _ = evaluate(models["good"], {"nmse": {"max": 1.0}}, examples=empty)
    assert math.isnan(evaluation.metrics["nmse"])
    assert not checks(evaluation)["nmse", "max"].ok
    assert not evaluation.blessed


def test_stock_tfma_measures_the_same_image_by_image(models, data, tmp_path):
    images, labels = data[0][:40], data[1][:40]
    examples = write_examples(tmp_path, images, labels)
    config = eval_config(GateConfig(), 16, (HEIGHT, WIDTH, 1), 256)
    files = str(Path(examples.uri, "Split-eval", "*"))
    model = tfma.default_eval_shared_model(
        str(Path(models["good"].uri, "Format-Serving")), eval_config=config
    )
    result = tfma.run_model_analysis(
        eval_shared_model=model,
        eval_config=config,
        data_location=files,
        output_path=str(tmp_path / "tfma"),
    )
    metrics = result.get_metrics_for_slice()
    found = {name: metrics[name]["doubleValue"] for name in formulas((HEIGHT, WIDTH, 1))}
    assert found == pytest.approx(expected(images, 16), rel=1e-5)


def test_an_evaluation_that_never_finished_is_one_clear_line(tmp_path):
    with pytest.raises(PipelineError, match="the Evaluator has not finished"):
        results.read(str(tmp_path))


def test_the_component_is_named_and_keyed_by_all_that_matters():
    def make(**changes):
        kind = of_images((8, 8, 1))
        arguments = {"gate": GateConfig(), "num_codes": 16, "kind": kind, **changes}
        return component.ReconstructionEvaluator(
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            model=channel_utils.as_channel([standard_artifacts.Model()]),
            baseline_model=channel_utils.as_channel([standard_artifacts.Model()]),
            **arguments,
        )

    base = make()
    assert base.id == "ReconstructionEvaluator"
    assert base.exec_properties == make().exec_properties
    assert set(base.outputs) == {"evaluation", "blessing"}
    tighter = GateConfig.model_validate({"thresholds": {"nmse": {"max": 0.01}}})
    for change in (
        {"gate": tighter},
        {"num_codes": 8},
        {"kind": AudioKind()},
        {"batch_size": 4},
        {"code_version": "other"},
    ):
        assert make(**change).exec_properties != base.exec_properties


def test_a_gate_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="neither better nor worse"):
        GateConfig.model_validate({"thresholds": {"uniform_bits_per_code": {"worse_by": 0.1}}})
    with pytest.raises(ValueError, match="unknown metric"):
        GateConfig.model_validate({"thresholds": {"accuracy": {"min": 0.1}}})
    with pytest.raises(ValueError, match="finite"):
        GateConfig.model_validate({"thresholds": {"nmse": {"max": math.nan}}})
