"""Typed settings of the networks: the `model` and `prior` sections of a configuration."""

from __future__ import annotations

import math
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _as_yaml_means(cls, values: Any) -> Any:
        """A section without entries, null in YAML, has its defaults; `yes` is not the number 1."""
        if not isinstance(values, dict):
            return values
        kept = {}
        for name, value in values.items():
            field = cls.model_fields.get(name)
            kinds = set() if field is None else _kinds(field.annotation)
            sections = any(issubclass(kind, BaseModel | dict) for kind in kinds)
            if value is None and sections and type(None) not in kinds:
                continue
            if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
                raise ValueError(
                    f"{name} is a number; YAML reads yes, no, on and off as true and false. "
                    f"Received: {str(value).lower()}"
                )
            kept[name] = value
        return kept


def _kinds(annotation: Any) -> set[type]:
    """The classes that a value of a field may have."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*(_kinds(each) for each in get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(each) for each in get_args(annotation)}
    kind = get_origin(annotation) or annotation
    return {kind} if isinstance(kind, type) else set()


class EncoderConfig(Section):
    """Strided 4×4 convolutions, then residual blocks (van den Oord et al. 2017, section 4.1)."""

    # Image side / code side; one strided convolution per factor of two. Default 4.
    downsampling: Literal[2, 4, 8, 16] = 4
    # Channels of every hidden layer, but for the one below. Default 128.
    hidden_units: Positive = 128
    # Channels of the first strided convolution. Default null: half of `hidden_units`, as its
    # resolution is the largest and a channel costs the most there.
    first_units: Positive | None = None
    # Residual 3×3 / 1×1 blocks after the strided convolutions. Default 2.
    residual_blocks: Annotated[int, Field(ge=0)] = 2
    # Channels inside a residual block. Default 32.
    residual_units: Positive = 32


class QuantizerConfig(Section):
    """The codes: how they are chosen, how many there are, and how the codebook learns."""

    # `ema`: codebook by moving averages (appendix A.1). `gradient`: codebook by gradient descent
    # (eq. 3). `fsq`: rounding, no codebook (finite scalar quantization). Default ema.
    kind: Literal["ema", "gradient", "fsq"] = "ema"
    # K, codes in the codebook. Default 512; fsq: follows from `levels`.
    num_codes: Annotated[int, Field(ge=2)] = 512
    # D, channels that the encoder gives a position. Default 64; fsq: follows from `levels`.
    embedding_dim: Positive = 64
    # Codes per position; each gets D / groups channels, all share one codebook. Default 1.
    groups: Positive = 1
    # fsq: values of each channel of a code. Default 8, 5, 5, 5: 1,000 codes.
    levels: Annotated[tuple[Annotated[int, Field(ge=3)], ...], Field(min_length=1)] = (8, 5, 5, 5)
    # How the gradient passes the choice of a code; ema and gradient only. Default
    # straight_through.
    estimator: Literal["straight_through", "rotation"] = "straight_through"
    # Encodings and embeddings have length 1, so that angles decide; ema and gradient only.
    cosine: bool = False
    # gamma of the moving averages (appendix A.1), per step; ema only. Default 0.97: where steps
    # are few it follows the encoder better than the 0.99 of the paper.
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.97
    # Weight beta of the commitment loss (eq. 3). Default 0.25.
    commitment: Annotated[float, Field(ge=0.0)] = 0.25
    # Weight alpha of the codebook loss (eq. 3); gradient only. Default 1.
    codebook_weight: Annotated[float, Field(gt=0.0)] = 1.0
    # Lloyd iterations, after a first one, that place the codebook on real encodings before the
    # first step; 0 starts from a random codebook. Default 10.
    kmeans_iterations: Annotated[int, Field(ge=0)] = 10
    # A code whose average count per step falls below this share of an even split (positions
    # of the batch / K) is moved onto an encoding of the current batch; 0 never restarts.
    # ema only. Default 0.03.
    restart_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03

    @model_validator(mode="after")
    def _follow(self) -> QuantizerConfig:
        """Sizes of fsq, and what does not go together."""
        if self.kind == "fsq":
            if self.cosine or self.estimator != "straight_through":
                raise ValueError("cosine and estimator are for kind ema and gradient, not fsq")
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
        return self.kind == "fsq" or self.kmeans_iterations > 0


class DecoderConfig(Section):
    """The encoder mirrored, with transposed convolutions; sizes are the encoder's."""

    # Distribution of a pixel given the codes. `gaussian`: squared error, one variance for all.
    # `categorical`: a softmax over the 256 grey levels. `logistic_mixture`: a discretised
    # mixture of logistics, green conditioned on red and blue on both. Default gaussian.
    # The first is trained in squared error / data variance, the others in nats per pixel value,
    # so the same commitment weighs differently beside them.
    likelihood: Literal["gaussian", "categorical", "logistic_mixture"] = "gaussian"
    # Components of `logistic_mixture`. Default 10.
    mixture_components: Positive = 10


class ModelConfig(Section):
    """The VQ-VAE."""

    encoder: EncoderConfig = EncoderConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    decoder: DecoderConfig = DecoderConfig()


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
    def _divisible(self) -> NetworkConfig:
        factor = self.model.encoder.downsampling
        if self.image.height % factor or self.image.width % factor:
            raise ValueError(
                f"images of {self.image.height}x{self.image.width} cannot be downsampled by "
                f"{factor}: both sides must be multiples of it (data.image or "
                "model.encoder.downsampling)"
            )
        return self

    @property
    def code_grid(self) -> tuple[int, int]:
        """Rows and columns of the positions that have codes."""
        factor = self.model.encoder.downsampling
        return self.image.height // factor, self.image.width // factor

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one image: `(h, w)`, or `(h, w, g)` with several per position."""
        groups = self.model.quantizer.groups
        return self.code_grid if groups == 1 else (*self.code_grid, groups)
