"""What two replicas have, and what compiling does to a step; JSON on standard output.

A process of its own, since logical devices are made before TensorFlow does anything.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from components import features
from components.errors import PipelineError
from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.copies import Copies
from components.trainer.optimizer import Adam
from components.trainer.prior import PriorObjective
from components.trainer.steps import Steps
from components.trainer.vqvae import VQVAEObjective
from models.config import (
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.part import Part
from models.prior import GatedPixelCNN
from models.vqvae import VQVAE

NETWORK = NetworkConfig(
    image=ImageShape(height=8, width=8, channels=1),
    model=ModelConfig(
        encoder=EncoderConfig(downsampling=2, hidden_units=8, residual_units=4),
        quantizer=QuantizerConfig(num_codes=16, embedding_dim=4, restart_threshold=0.0),
    ),
)


def vqvae(seed: int = 1) -> VQVAEObjective:
    return VQVAEObjective(VQVAE(NETWORK, 0.1, seed=seed), tf.zeros([0]))


def prior(dropout: float = 0.0) -> PriorObjective:
    # XLA draws other numbers from the same seed: what is compared with it draws none.
    config = PriorConfig(
        layers=2, hidden_units=8, head_units=8, dropout=dropout, unconditional_fraction=0.0
    )
    return PriorObjective(GatedPixelCNN(config, 16, 3, (4, 4)), None, seed=3)


def batches(strategy, stage: str):
    random = np.random.default_rng(0)
    if stage == "vqvae":
        data = {features.IMAGE: random.integers(0, 256, (320, 8, 8, 1)).astype("uint8")}
    else:
        data = {features.CODES: random.integers(0, 16, (320, 4, 4)).astype("int32")}
    data[features.LABEL] = random.integers(0, 3, 320).astype("int32")
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(32, drop_remainder=True)
    return iter(strategy.experimental_distribute_dataset(dataset))


def trained(strategy, make, jit: bool, **settings) -> list[np.ndarray]:
    """All variables, on every replica, after six steps."""
    keras.utils.set_random_seed(0)
    stage = StageConfig(steps=6, batch_size=32, learning_rate=1e-2, weight_ema=0.5, **settings)
    with strategy.scope():
        objective = make()
        optimizer = Adam(stage, objective.model.trainable_variables)
        averages = Averages(objective.model, stage.weight_ema)
    steps = Steps(objective, optimizer, averages, strategy, stage, jit)
    steps.run(batches(strategy, objective.stage), 6)
    variables = [*objective.model.variables, *averages.variables, *steps.variables]
    return [
        [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
        for variable in variables
    ]


def largest_difference(one, other) -> float:
    """Of the first copies, relative to the largest number of each variable."""
    return max(
        float(np.max(np.abs(a[0] - b[0])) / max(np.max(np.abs(b[0])), 1e-12))
        for a, b in zip(one, other, strict=True)
    )


def differing_copies(strategy) -> dict:
    """What `copies` says and does of a codebook that each replica placed for itself."""
    with strategy.scope():
        model = vqvae().model
    embedding = model.quantizer.embedding
    first, second = strategy.experimental_local_results(embedding.value)
    second.assign(first + 0.39)
    copies = Copies(strategy, model.variables)
    try:
        copies.check("vqvae", 0)
        message = ""
    except PipelineError as error:
        message = str(error)
    copies.broadcast()
    copies.check("vqvae", 0)
    return {"message": message, "same": bool(np.all(first.numpy() == second.numpy()))}


def masks(strategy) -> list[float]:
    """Loss of each of two replicas on the same codes."""
    with strategy.scope():
        objective = prior(dropout=0.5)
    batch = {features.CODES: tf.zeros([4, 4, 4], tf.int32), features.LABEL: tf.zeros([4], tf.int32)}

    @tf.function
    def losses():
        def one():
            context = tf.distribute.get_replica_context()
            index = int(tf.get_static_value(context.replica_id_in_sync_group))
            part = Part(index, context.num_replicas_in_sync)
            labels = {**batch, features.LABEL: tf.fill([4], -1)}
            return objective.loss(labels, tf.constant(0, tf.int64), part)["loss"]

        return strategy.run(one)

    return [float(each) for each in strategy.experimental_local_results(losses())]


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    one = tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {"differing": differing_copies(two), "masks": masks(two)}
    # The VQ-VAE last, whose plain training is held against more below.
    for name, make in {"prior": prior, "vqvae": vqvae}.items():
        plain = trained(one, make, jit=False)
        plain_two, compiled_two = (trained(two, make, jit) for jit in (False, True))
        found[name] = {
            "compiled": largest_difference(trained(one, make, jit=True), plain),
            "compiled on two": largest_difference(compiled_two, plain_two),
            "copies equal": all(
                np.array_equal(first, second) for first, second in plain_two + compiled_two
            ),
        }
    for jit, count in ((False, 4), (True, 2)):
        parts = trained(one, vqvae, jit, gradient_accumulation=count)
        found["vqvae"][f"in parts, compiled {jit}"] = largest_difference(parts, plain)
    both = trained(two, vqvae, jit=False, gradient_accumulation=2)
    found["vqvae"]["in parts on two"] = largest_difference(both, plain)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
