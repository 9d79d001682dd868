"""Typed settings of the networks: the `model` and `prior` sections of a configuration."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from models.encoder_config import DecoderConfig, EncoderConfig
from models.section import Fraction, Positive, Section

__all__ = [
    "DecoderConfig",
    "EncoderConfig",
    "Fraction",
    "ImageShape",
    "ModelConfig",
    "NetworkConfig",
    "Positive",
    "PriorConfig",
    "QuantizerConfig",
    "Section",
]


class QuantizerConfig(Section):
    """The codes: how they are chosen, how many there are, and how the codebook learns."""

    # `ema`: codebook by moving averages (appendix A.1). `gradient`: codebook by gradient descent
    # (eq. 3). `simvq`: a learned linear map of a frozen random table, for large codebooks
    # (SimVQ). `fsq`: rounding, no codebook (finite scalar quantization). Default ema.
    kind: Literal["ema", "gradient", "simvq", "fsq"] = "ema"
    # K, codes in the codebook. Default 512; fsq: follows from `levels`.
    num_codes: Annotated[int, Field(ge=2)] = 512
    # D, channels that the encoder gives a position. Default 64; fsq: follows from `levels`.
    embedding_dim: Positive = 64
    # Codes per position; each gets D / groups channels, all share one codebook. Default 1.
    groups: Positive = 1
    # Codes per position, each for what those before it left of the encoding (residual
    # quantization), and each with a codebook of its own; not with groups, cosine or fsq.
    # Default 1.
    depth: Positive = 1
    # fsq: values of each channel of a code. Default 8, 5, 5, 5: 1,000 codes.
    levels: Annotated[tuple[Annotated[int, Field(ge=3)], ...], Field(min_length=1)] = (8, 5, 5, 5)
    # How the gradient passes the choice of a code; not for fsq. Default straight_through.
    estimator: Literal["straight_through", "rotation"] = "straight_through"
    # Encodings and embeddings have length 1, so that angles decide; not for fsq.
    cosine: bool = False
    # gamma of the moving averages (appendix A.1), per step; ema only. Default 0.97: where steps
    # are few it follows the encoder better than the 0.99 of the paper.
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.97
    # Weight beta of the commitment loss (eq. 3). Default 0.25.
    commitment: Annotated[float, Field(ge=0.0)] = 0.25
    # Weight alpha of the codebook loss (eq. 3); gradient and simvq only. Default 1.
    codebook_weight: Annotated[float, Field(gt=0.0)] = 1.0
    # Lloyd iterations, after a first one, that place the codebook on real encodings before the
    # first step; 0 starts from a random codebook. ema and gradient only: simvq and fsq take the
    # mean and the spread of encodings. Default 10.
    kmeans_iterations: Annotated[int, Field(ge=0)] = 10
    # A code whose average count per step falls below this share of an even split (positions
    # of the batch / K) is moved onto an encoding of the current batch; 0 never restarts.
    # ema only. Default 0.03.
    restart_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03

    @model_validator(mode="after")
    def _follow(self) -> QuantizerConfig:
        """Sizes of fsq, and what does not go together."""
        if self.depth > 1:
            for name, is_so, why in (
                ("groups", self.groups > 1, "both ask for several codes per position"),
                ("cosine", self.cosine, "vectors of length 1 do not add up to an encoding"),
                ("kind fsq", self.kind == "fsq", "what it leaves is finer than its levels"),
            ):
                if is_so:
                    raise ValueError(
                        f"depth ({self.depth}) does not go with {name}: {why}; use one of the two"
                    )
        if self.kind == "fsq":
            if self.cosine or self.estimator != "straight_through":
                raise ValueError("cosine and estimator are for a codebook, which fsq has not")
            # Whoever reads the configuration finds K and D in one place, whatever the kind.
            sizes = {
                "num_codes": math.prod(self.levels),
                "embedding_dim": len(self.levels) * self.groups,
            }
            if sizes["num_codes"] >= 2**31:
                raise ValueError("the product of levels must be below 2^31")
            for name, size in sizes.items():
                object.__setattr__(self, name, size)
        elif self.embedding_dim % self.groups:
            raise ValueError(
                f"embedding_dim ({self.embedding_dim}) must be a multiple of groups ({self.groups})"
            )
        return self

    @property
    def starts_on_data(self) -> bool:
        """The quantizer is fitted to encodings before the first step."""
        return self.kind in ("simvq", "fsq") or self.kmeans_iterations > 0

    @property
    def codes_per_position(self) -> int:
        """g: groups, or depth."""
        return self.groups * self.depth


class ModelConfig(Section):
    """The VQ-VAE."""

    encoder: EncoderConfig = EncoderConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    decoder: DecoderConfig = DecoderConfig()

    @model_validator(mode="after")
    def _decoder_fits(self) -> ModelConfig:
        self.decoder_network.check("decoder.")
        return self

    @property
    def decoder_network(self) -> EncoderConfig:
        """Sizes of the decoder, as those of the encoder that it mirrors."""
        return self.encoder.model_copy(update={"first_units": None, **self.decoder.sizes})


class PriorConfig(Section):
    """The distribution of the codes, and how they are drawn."""

    # `pixelcnn`: a Gated PixelCNN (van den Oord et al. 2016). `transformer`: decoder-only, one
    # code after the other. Default pixelcnn.
    kind: Literal["pixelcnn", "transformer"] = "pixelcnn"
    # Gated layers, or blocks of attention and a gated layer. Default 12.
    layers: Annotated[int, Field(ge=1)] = 12
    # Channels of the two stacks, or of the transformer. Default 64.
    hidden_units: Positive = 64
    # Side of the kernels, an odd number of code positions; pixelcnn only. Default 3.
    kernel_size: Annotated[int, Field(ge=3)] = 3
    # Channels of the head in front of the softmax; pixelcnn only. Default 128.
    head_units: Positive = 128
    # Heads of attention, each with hidden_units / heads channels; transformer only. Default 4.
    heads: Positive = 4
    # Share of channels dropped in training. Default 0.1.
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    # Share of training images whose label is hidden, so that one network is conditional and
    # unconditional. Default 0.2; without labels every image is unconditional.
    unconditional_fraction: Fraction = 0.2

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that a kernel has a centre")
        return value

    @model_validator(mode="after")
    def _of_the_kind(self) -> PriorConfig:
        """Options of the other kind, and sizes that do not go together."""
        others = {"pixelcnn": ("heads",), "transformer": ("kernel_size", "head_units")}[self.kind]
        for name in others:
            default = type(self).model_fields[name].default
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} is not for kind {self.kind}; leave it out, or at {default}, or choose "
                    "another kind"
                )
        if self.kind == "transformer" and self.hidden_units % (4 * self.heads):
            raise ValueError(
                f"hidden_units ({self.hidden_units}) must be a multiple of 4 · heads "
                f"({4 * self.heads}), as each head turns a quarter of its channels at a time"
            )
        return self


class ImageShape(Section):
    """Height, width and channels of the images that the networks see."""

    # Pixels.
    height: Positive
    # Pixels.
    width: Positive
    # 1 (gray) or 3 (RGB).
    channels: Literal[1, 3]

    @property
    def hwc(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def size(self) -> int:
        """Dimensions of one image, the D of bits/dim."""
        return math.prod(self.hwc)


class NetworkConfig(Section):
    """All that the shape of the VQ-VAE depends on."""

    image: ImageShape
    model: ModelConfig = ModelConfig()

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        encoder, image = self.model.encoder, self.image
        rows, columns = encoder.factors
        if image.height % rows or image.width % columns:
            sides = "both sides must be multiples of it"
            if rows != columns:
                sides = f"the height must be a multiple of {rows}, the width of {columns}"
            raise ValueError(
                f"images of {image.height}x{image.width} cannot be downsampled by "
                f"{encoder.factors_text}: {sides} (data.image or model.encoder.downsampling)"
            )
        if self.model.decoder.time_jitter and self.code_grid[0] == 1:
            raise ValueError(
                "model.decoder.time_jitter replaces rows of codes by those beside them, and with "
                f"downsampling {encoder.factors_text} there is one row; leave it at 0"
            )
        return self

    @property
    def code_grid(self) -> tuple[int, int]:
        """Rows and columns of the positions that have codes."""
        rows, columns = self.model.encoder.factors
        return self.image.height // rows, self.image.width // columns

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one image: `(h, w)`, or `(h, w, g)` with several per position."""
        several = self.model.quantizer.codes_per_position
        return self.code_grid if several == 1 else (*self.code_grid, several)
