"""The VQ-VAE: encoder, quantizer, decoder."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.bounded import bounded
from models.config import NetworkConfig
from models.likelihoods import build_likelihood
from models.memory import MOST_AT_ONCE, images_of_outputs
from models.metrics import has_ssim
from models.networks import build_decoder, build_encoder
from models.networks.instance_norm import normalized_over_rows
from models.part import WHOLE, Part
from models.precision import state_dtype
from models.quantizers import build_quantizer
from models.seeded import seeded
from models.ssim import ssim
from models.time_jitter import jittered
from models.updates import Updates


class VQVAE(keras.Model):
    """Vector-quantized variational autoencoder (van den Oord et al. 2017).

    Images travel as uint8 and are scaled inside, so that there is one place where that is done.

    Args:
        config: sizes.
        data_variance: variance of pixel / 255 over the training images.
        seed: seed of the weights and of the codebook.
        recompute: spend time for memory in training (`models.recompute`).
        num_classes: labels are 0 … num_classes - 1; what a conditional decoder needs to know.

    Example:

    >>> vqvae = VQVAE(config, data_variance=0.08)
    >>> codes = vqvae.encode(images)     # uint8 [N, H, W, C] -> int32 [N, h, w]
    >>> images = vqvae.decode(codes)     # int32 [N, h, w] -> uint8 [N, H, W, C]

    Codes are `[N, h, w, g]` where the quantizer makes g > 1 codes per position.

    Where labels are an argument, int32 `[N]`, a conditional decoder must be given them, and no
    other looks at them; one that is none of the classes, such as -1, is not known.
    """

    def __init__(
        self,
        config: NetworkConfig,
        data_variance: float,
        seed: int = 0,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = config
        model = config.model
        conditional = model.decoder.conditional
        if conditional and num_classes < 1:
            raise ValueError(f"a conditional decoder needs num_classes. Received: {num_classes}")
        classes, given = (num_classes, [tf.constant([-1])]) if conditional else (0, [])
        with seeded(seed):
            self.encoder = build_encoder(model, recompute)
            self.quantizer = build_quantizer(model.quantizer, seed=seed)
            self.likelihood = build_likelihood(model.decoder, config.image.channels, data_variance)
            outputs = self.likelihood.outputs_per_pixel
            self.decoder = build_decoder(model, outputs, recompute, classes)
            # Built at once, so that the order of the random draws does not depend on the caller.
            self.encoder(tf.zeros([1, *config.image.hwc]))
            self.decoder(tf.zeros([1, *config.code_grid, model.quantizer.embedding_dim]), *given)
        self.built = True

    def encodings(self, images):
        """z_e(x). uint8 `[N, H, W, C]` -> float `[N, h, w, D]`."""
        x = tf.cast(images, state_dtype()) / 255.0 - 0.5
        if self.config.model.encoder.instance_norm:
            x = normalized_over_rows(x)
        return self.encoder(x)

    def encode(self, images):
        """Codes of images. uint8 `[N, H, W, C]` -> int32 `[N, h, w]`."""

        def some(images):
            return self.quantizer(self.encodings(images)).codes

        return self._of_any_number(some, [images], self.config.code_shape, "int32")

    def decode(self, codes, labels=None):
        """The mean images of codes. int `[N, h, w]` -> uint8 `[N, H, W, C]`."""

        def some(codes, *labels):
            return self.likelihood.images(self.parameters(codes, *labels))

        rows = [codes, *self._told(labels)]
        return self._of_any_number(some, rows, self.config.image.hwc, "uint8")

    def parameters(self, codes, labels=None):
        """The likelihood's parameters given codes. int `[N, h, w]` -> float `[N, H, W, ...]`."""
        return self.decoder(self.quantizer.lookup(codes), *self._told(labels))

    def call(
        self,
        images,
        training: bool = False,
        part: Part = WHOLE,
        labels=None,
        jitter_key=None,
    ) -> dict[str, tf.Tensor]:
        """Losses of a batch. Changes nothing: `updates` says what a step of training changes.

        Args:
            images: uint8 `[N, H, W, C]`.
            training: adds `statistics`.
            part: of the whole batch that `images` are.
            labels: of the images, see above.
            jitter_key: int64 `[2]`; which codes `time_jitter` replaces in training is a function of
                it. None replaces none.

        Returns:
            `loss` (scalar, what is minimised: reconstruction + the quantizer's terms),
            `reconstruction_loss`, each term of the quantizer, `codes`, int32 `[N, h, w]`, and
            `statistics`, a dict of sums over the batch (`Quantized`).
        """
        z = self.encodings(images)
        quantized, codes, losses, statistics = self.quantizer(z, training=training, part=part)
        jitter = self.config.model.decoder.time_jitter
        if training and jitter and jitter_key is not None:
            quantized = jittered(quantized, jitter, jitter_key, part)
        decoded = self.decoder(quantized, *self._told(labels))
        reconstruction = self.likelihood.loss(images, decoded)
        return {
            "loss": tf.add_n([reconstruction, *losses.values()]),
            "reconstruction_loss": reconstruction,
            "codes": codes,
            "statistics": statistics,
            **losses,
        }

    def updates(self, losses: dict[str, tf.Tensor], statistics: dict[str, tf.Tensor]) -> Updates:
        """Codebook and variance after a step, which no gradient moves.

        Args:
            losses: of the whole batch, their means over its parts.
            statistics: of the whole batch, their sums over its parts.
        """
        return [
            *self.quantizer.updates(statistics),
            *self.likelihood.updates(losses["reconstruction_loss"]),
        ]

    def measure(self, images, labels=None) -> dict[str, tf.Tensor]:
        """Per-image terms of every metric that the VQ-VAE alone decides.

        Args:
            images: uint8 `[N, H, W, C]`.
            labels: of the images, see above.

        Returns:
            `codes` int32 `[N, h·w·g]`; `squared_error`, `pixel_square_sum`, `decoder_bits`
            float32 `[N]` and `pixel_sum` float32 `[N, C]`, pixels in units of pixel / 255; and
            `ssim` float32 `[N]`, but of images that are smaller than its window.
        """
        codes = self.encode(images)
        parameters = self.parameters(codes, labels)
        x = tf.cast(images, tf.float32) / 255.0
        # The error of the image that a user gets, rounded to grey levels as it is.
        decoded = tf.cast(self.likelihood.images(parameters), tf.float32) / 255.0
        return {
            "codes": tf.reshape(codes, [tf.shape(codes)[0], -1]),
            "squared_error": tf.reduce_sum(tf.square(x - decoded), axis=[1, 2, 3]),
            "pixel_sum": tf.reduce_sum(x, axis=[1, 2]),
            "pixel_square_sum": tf.reduce_sum(tf.square(x), axis=[1, 2, 3]),
            "decoder_bits": self.likelihood.bits(images, parameters),
            **({"ssim": ssim(x, decoded)} if has_ssim(self.config.image.hwc) else {}),
        }

    def _told(self, labels) -> list:
        """What the decoder is told besides codes: the labels, or nothing."""
        if not self.config.model.decoder.conditional:
            return []
        if labels is None:
            raise ValueError("labels must be given: the decoder is conditional. Received: None")
        return [labels]

    def _of_any_number(self, function, rows, shape, dtype: str):
        """`function(*rows)`, in parts where a request's images would take too much memory."""
        at_once = images_of_outputs(self.config, self.likelihood.outputs_per_pixel)
        if at_once == MOST_AT_ONCE:
            return function(*rows)
        return bounded(function, rows, at_once, shape, dtype)
