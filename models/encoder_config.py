"""Typed settings of encoder and decoder: `model.encoder` and `model.decoder` of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from models.section import Positive, Section


def _factors(value: Any) -> Any:
    """A factor for both axes, or one for each; equal ones are one."""
    pair = list(value) if isinstance(value, list | tuple) else [value, value]
    known = len(pair) == 2 and all(type(each) is int and each in _FACTORS for each in pair)
    if not known or max(pair) == 1:
        raise ValueError(
            f"must be a power of two, 2 to {_FACTORS[-1]}, or two of them for rows and columns, "
            "one of which may be 1"
        )
    return pair[0] if pair[0] == pair[1] else tuple(pair)


_FACTORS = tuple(2**exponent for exponent in range(8))
Downsampling = Annotated[int | tuple[int, int], BeforeValidator(_factors)]


class EncoderConfig(Section):
    """From images to one vector for each position that gets a code."""

    # `paper`: strided 4×4 convolutions, then residual blocks (van den Oord et al. 2017, section
    # 4.1). `resnet`: residual blocks with group normalization at every resolution (Esser et al.
    # 2021), for photographs. Default paper.
    kind: Literal["paper", "resnet"] = "paper"
    # Image side / code side: a power of two for both axes, or [rows, columns]. There is one
    # halving per factor of two, of both axes as long as both have factors left. Default 4.
    downsampling: Downsampling = 4
    # Channels. paper: of every hidden layer, but for the one below. resnet: at the resolution of
    # the images, see `channel_multipliers`. Default 128.
    hidden_units: Positive = 128
    # Channels of the first strided convolution; paper only. Default null: half of
    # `hidden_units`, as its resolution is the largest and a channel costs the most there.
    first_units: Positive | None = None
    # Residual blocks. paper: behind the strided convolutions. resnet: at each resolution, and two
    # more in the middle. Default 2.
    residual_blocks: Annotated[int, Field(ge=0)] = 2
    # Channels inside a residual block; paper only. Default 32.
    residual_units: Positive = 32
    # Channels / `hidden_units` at each resolution, that of the images first: one number more than
    # there are halvings; resnet only. Default null: 1, 1, 2, 2, 4, 4, 4, 4.
    channel_multipliers: tuple[Positive, ...] | None = None
    # Where every position attends to all others, behind each residual block: downsampling
    # factors, such as [8, 16], counted on the axis that is halved more often. The last, that of
    # the codes, has the middle attend too. Memory grows with the square of the positions; resnet
    # only. Default []: nowhere.
    attention_at: tuple[Positive, ...] = ()
    # Each column and channel of an image gets mean 0 and variance 1 over its rows before the
    # encoder sees it. Of a spectrogram these are the bands over time, and what is taken out is
    # much of the voice and the microphone; not for photographs. Default false.
    instance_norm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> EncoderConfig:
        self.check()
        return self

    def check(self, prefix: str = "") -> None:
        """What does not go together is a ValueError that names it, with `prefix` in front."""
        other, names = _SIZES_OF_OTHER[self.kind]
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{prefix}{name} is for kind {other}, not {self.kind}; leave it out, or set "
                    f"model.encoder.kind to {other}"
                )
        count = len(self.strides) + 1
        if self.channel_multipliers is not None and len(self.channel_multipliers) != count:
            raise ValueError(
                f"{prefix}channel_multipliers must have {count} numbers with downsampling "
                f"{self.factors_text}, one for each resolution. Received: "
                f"{len(self.channel_multipliers)}"
            )
        there = _FACTORS[:count]
        for factor in self.attention_at:
            if factor not in there:
                raise ValueError(
                    f"{prefix}attention_at has {factor}, but with downsampling "
                    f"{self.factors_text} there are {', '.join(map(str, there))}"
                )

    @property
    def factors(self) -> tuple[int, int]:
        """Image rows / code rows, and the same of columns."""
        given = self.downsampling
        return given if isinstance(given, tuple) else (given, given)

    @property
    def factors_text(self) -> str:
        """As messages have it: `4`, or `4x64`."""
        rows, columns = self.factors
        return str(rows) if rows == columns else f"{rows}x{columns}"

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """Of each halving, that of the images first: 2 on an axis with factors left, else 1."""
        rows, columns = (factor.bit_length() - 1 for factor in self.factors)
        return tuple((1 + (i < rows), 1 + (i < columns)) for i in range(max(rows, columns)))


# Kind -> the other one, and the sizes that only that one has.
_SIZES_OF_OTHER = {
    "paper": ("resnet", ("channel_multipliers", "attention_at")),
    "resnet": ("paper", ("first_units", "residual_units")),
}


class DecoderConfig(Section):
    """The encoder mirrored, of its kind; and what its output means."""

    # Sizes, as in `model.encoder`. Default null: the encoder's.
    hidden_units: Positive | None = None
    # As in `model.encoder`. Default null: the encoder's.
    residual_blocks: Annotated[int, Field(ge=0)] | None = None
    # As in `model.encoder`; paper only. Default null: the encoder's.
    residual_units: Positive | None = None
    # As in `model.encoder`, the images' resolution first; resnet only. Default null: the encoder's.
    channel_multipliers: tuple[Positive, ...] | None = None
    # As in `model.encoder`; resnet only. Default null: the encoder's.
    attention_at: tuple[Positive, ...] | None = None
    # Distribution of a pixel given the codes. `gaussian`: squared error, one variance for all.
    # `categorical`: a softmax over the 256 grey levels. `logistic_mixture`: a discretised
    # mixture of logistics, green conditioned on red and blue on both. Default gaussian.
    # The first is trained in squared error / data variance, the others in nats per pixel value,
    # so the same commitment weighs differently beside them.
    likelihood: Literal["gaussian", "categorical", "logistic_mixture"] = "gaussian"
    # Components of `logistic_mixture`. Default 10.
    mixture_components: Positive = 10
    # Share of the rows of codes that the decoder is given, in training, as one of the two rows
    # beside it has them (Chorowski et al. 2019): of a spectrogram's moments, so that a code says
    # what lasts longer than one. Default 0: none.
    time_jitter: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    # The decoder is told each image's label, such as the speaker, which the codes then need not
    # say: decoding takes codes and labels. The data must have labels. Default false.
    conditional: bool = False

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of its own, by the names that they have in `model.encoder`."""
        others = {"likelihood", "mixture_components", "time_jitter", "conditional"}
        given = self.model_dump(exclude=others)
        return {name: value for name, value in given.items() if value is not None}
