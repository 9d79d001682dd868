"""What training and the released models need of a GPU, as far as that shows without one."""

from __future__ import annotations

import functools

import pytest
import tensorflow as tf

from components import features
from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.optimizer import Adam
from components.trainer.prior import PriorObjective
from components.trainer.steps import Steps
from components.trainer.vqvae import VQVAEObjective
from models import sampler
from models.config import (
    DecoderConfig,
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.priors import GatedPixelCNN
from models.quantizers import search, sums
from models.vqvae import VQVAE
from tests.fixtures.gpu_kernels import (
    host_calls,
    int32_variables,
    transfers_to_host,
    without_gpu_kernel,
)

QUANTIZERS = {
    "ema": {},
    "gradient": {},
    "simvq": {},
    "fsq": {"levels": (4, 3)},
    "residual": {"kind": "ema", "groups": 1, "depth": 2},
}
LIKELIHOODS = ("gaussian", "categorical", "logistic_mixture")


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    for module in (search, sums):
        monkeypatch.setattr(module, "has_gpu", lambda: True)


PAPER = EncoderConfig(downsampling=2, hidden_units=8, residual_units=4)
RESNET = EncoderConfig(
    kind="resnet", downsampling=2, hidden_units=8, residual_blocks=0, attention_at=(2,)
)


def network(
    quantizer: str = "ema",
    likelihood: str = "gaussian",
    groups: int = 1,
    encoder: EncoderConfig = PAPER,
) -> NetworkConfig:
    sizes = {"num_codes": 12, "embedding_dim": 4, "groups": groups}
    settings = {"kind": quantizer, **sizes, **QUANTIZERS[quantizer]}
    return NetworkConfig(
        image=ImageShape(height=12, width=12, channels=3),  # large enough for SSIM
        model=ModelConfig(
            encoder=encoder,
            quantizer=QuantizerConfig(**settings),
            decoder=DecoderConfig(likelihood=likelihood, mixture_components=2),
        ),
    )


def steps(objective, **arguments) -> Steps:
    stage = StageConfig(weight_ema=0.9, weight_decay=0.1, gradient_accumulation=2)
    optimizer = Adam(stage, objective.model.trainable_variables)
    averages = Averages(objective.model, stage.weight_ema)
    strategy = tf.distribute.get_strategy()
    return Steps(objective, optimizer, averages, strategy, stage, scale_loss=True, **arguments)


def step(objective, spec: dict[str, tf.TensorSpec]):
    """A whole step of training, with everything that is assigned in it."""
    return steps(objective)._whole.get_concrete_function(spec)


def of_vqvae(config: NetworkConfig, classes: int = 0):
    return step(
        VQVAEObjective(VQVAE(config, 0.1, num_classes=classes), tf.zeros([0])),
        {
            features.IMAGE: tf.TensorSpec([4, *config.image.hwc], tf.uint8),
            features.LABEL: tf.TensorSpec([4], tf.int32),
        },
    )


def of_prior(groups: int):
    config = network(groups=groups)
    prior = GatedPixelCNN(PriorConfig(layers=2, hidden_units=8), 12, 3, config.code_shape)
    return step(
        PriorObjective(prior, None, 0),
        {
            features.CODES: tf.TensorSpec([4, *config.code_shape], tf.int32),
            features.LABEL: tf.TensorSpec([4], tf.int32),
        },
    )


def runs_on_a_gpu(function) -> None:
    assert not int32_variables(function)
    assert not host_calls(function)
    assert not without_gpu_kernel(function)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_step_of_every_quantizer(quantizer):
    runs_on_a_gpu(of_vqvae(network(quantizer, groups=2)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_step_of_every_likelihood(likelihood):
    runs_on_a_gpu(of_vqvae(network(likelihood=likelihood)))


def test_a_step_with_labels_and_jitter():
    config = network()
    decoder = DecoderConfig(conditional=True, time_jitter=0.1)
    encoder = config.model.encoder.model_copy(update={"instance_norm": True})
    model = config.model.model_copy(update={"decoder": decoder, "encoder": encoder})
    runs_on_a_gpu(of_vqvae(config.model_copy(update={"model": model}), classes=3))


def test_a_step_of_the_network_for_photographs():
    runs_on_a_gpu(of_vqvae(network(encoder=RESNET)))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_step_of_the_prior(groups):
    runs_on_a_gpu(of_prior(groups))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_measuring_encoding_and_decoding(likelihood):
    config = network(likelihood=likelihood)
    vqvae = VQVAE(config, 0.1)
    images = tf.TensorSpec([None, *config.image.hwc], tf.uint8)
    codes = tf.TensorSpec([None, *config.code_shape], tf.int32)
    runs_on_a_gpu(tf.function(vqvae.measure).get_concrete_function(images))
    runs_on_a_gpu(tf.function(vqvae.encode).get_concrete_function(images))
    runs_on_a_gpu(tf.function(vqvae.decode).get_concrete_function(codes))


@pytest.mark.parametrize("groups", [1, 2])
def test_log_prob_and_sampling(groups):
    config = network(groups=groups)
    prior = GatedPixelCNN(PriorConfig(layers=2, hidden_units=8), 12, 3, config.code_shape)
    labels = tf.TensorSpec([None], tf.int32)
    codes = tf.TensorSpec([None, *config.code_shape], tf.int32)
    runs_on_a_gpu(tf.function(prior.log_prob).get_concrete_function(codes, labels))
    runs_on_a_gpu(
        tf.function(functools.partial(sampler.sample, prior)).get_concrete_function(
            labels,
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.float32),
        )
    )


def test_no_step_waits_for_a_value_from_the_device():
    config = network()
    compiled = steps(VQVAEObjective(VQVAE(config, 0.1), tf.zeros([0])), jit_compile=True)
    batch = {
        features.IMAGE: tf.zeros([4, *config.image.hwc], tf.uint8),
        features.LABEL: tf.zeros([4], tf.int32),
    }
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    many = compiled._many.get_concrete_function(batches, tf.constant(3))
    assert not transfers_to_host(many)

    def waits(x):
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: y + 1.0, [x])

    spec = tf.TensorSpec([3])
    assert transfers_to_host(tf.function(waits).get_concrete_function(spec))


def test_a_state_of_int32_is_found():
    counter = tf.Variable(0, dtype=tf.int32)
    count = tf.function(lambda: counter.assign_add(1)).get_concrete_function()
    assert int32_variables(count) == [counter.name]
    text = tf.function(lambda: tf.strings.join(["a", "b"])).get_concrete_function()
    assert without_gpu_kernel(text)
