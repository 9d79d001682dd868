"""What TensorFlow Serving finds beside the SavedModels: warm-up requests, batching parameters."""

from __future__ import annotations

import collections

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.kinds import ImageKind
from components.release_store.release import SERVED
from components.tf_serving import batching, warmup
from models.vqvae import VQVAE
from tests.fixtures import small_release

SIGNATURES = {
    "encode": {"serving_default", "pixels", "identity"},
    "decode": {"serving_default", "identity"},
    "sample": {"serving_default", "controlled", "complete", "guided", "identity"},
}


@pytest.fixture(
    scope="module",
    params=[{}, {"num_codes": 8, "embedding_dim": 4, "groups": 2}, {"conditional": True}],
)
def release(request, tmp_path_factory):
    config = small_release.network(**request.param)
    vqvae = VQVAE(config, data_variance=0.1, num_classes=small_release.CLASSES)
    folder = small_release.export(tmp_path_factory.mktemp("warmup"), vqvae)
    warmup.write(
        folder, ImageKind(image=config.image), config.code_shape, config.model.decoder.conditional
    )
    batching.write(folder)
    return folder


def requests(release, model: str) -> list:
    path = release / model / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    return [log.predict_log.request for log in logs]


@pytest.mark.parametrize("model", SERVED)
def test_every_request_is_one_that_the_model_answers(release, model):
    signatures = tf.saved_model.load(str(release / model)).signatures
    rows = collections.defaultdict(list)
    for request in requests(release, model):
        assert request.model_spec.name == model
        name = request.model_spec.signature_name
        inputs = {
            key: tf.constant(tf.make_ndarray(value), tf.as_dtype(value.dtype))
            for key, value in request.inputs.items()
        }
        specs = signatures[name].structured_input_signature[1]
        assert {key: tensor.dtype for key, tensor in inputs.items()} == {
            key: spec.dtype for key, spec in specs.items()
        }
        answer = signatures[name](**inputs)
        counts = {output.shape[0] for output in answer.values()}
        assert len(counts) == 1
        rows[name] += counts
    assert set(signatures) == SIGNATURES[model]
    sizes = [1] if model == "sample" else [1, 64]
    assert rows == dict.fromkeys(SIGNATURES[model], sizes)


def test_the_files_are_the_same_for_the_same_model(release, tmp_path):
    config = small_release.network()
    for folder in (tmp_path / "one", tmp_path / "two"):
        for model in SERVED:
            (folder / model).mkdir(parents=True)
        warmup.write(folder, ImageKind(image=config.image), config.code_shape)
    for model in SERVED:
        one, two = (
            (tmp_path / each / model / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
            for each in ("one", "two")
        )
        assert one == two
        assert len(one) < 4000


def test_models_whose_inputs_have_rows_are_batched(release):
    # The message, BatchingParameters of session_bundle_config.proto, is in no Python package.
    expected = (
        "max_batch_size { value: 64 }\n"
        "batch_timeout_micros { value: 2000 }\n"
        "max_enqueued_batches { value: 64 }\n"
        "allowed_batch_sizes: 1\n"
        "allowed_batch_sizes: 2\n"
        "allowed_batch_sizes: 4\n"
        "allowed_batch_sizes: 8\n"
        "allowed_batch_sizes: 16\n"
        "allowed_batch_sizes: 32\n"
        "allowed_batch_sizes: 64\n"
        "pad_variable_length_inputs: false\n"
        "enable_large_batch_splitting { value: true }\n"
        "max_execution_batch_size { value: 64 }\n"
    )
    for model in ("encode", "decode"):
        assert (release / model / "batching_params.pbtxt").read_text() == expected
        signatures = tf.saved_model.load(str(release / model)).signatures
        for signature in signatures.values():
            specs = signature.structured_input_signature[1].values()
            assert all(spec.shape.rank >= 1 and spec.shape[0] is None for spec in specs)
    assert not (release / "sample" / "batching_params.pbtxt").exists()
