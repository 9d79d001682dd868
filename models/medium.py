"""What a release takes and gives besides codes: images, or sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from models.arguments import checked, require
from models.audio.config import AudioConfig
from models.audio.waveform import waveform
from models.exported import ENCODED

Preprocess = Callable[[tf.Tensor], tf.Tensor]  # string [N] -> uint8 [N, H, W, C]
Made = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # uint8 [N, H, W, C] -> outputs by name


@dataclass(frozen=True)
class Medium:
    """One kind of data at the ends of the SavedModels.

    Attributes:
        encoded: name of the input of `encode`, string `[N]`.
        preprocess: what it holds, to the pixels that the networks were trained on.
        made: outputs of `decode` and `sample`, of pixels.
        signatures: of `decode`, besides those that all have.
        told: what a client must know to make what `encode` takes, and cannot see in the
            signatures; outputs of the signature `identity` of each model.
    """

    encoded: str
    preprocess: Preprocess
    made: Made
    signatures: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


def image_medium(preprocess: Preprocess) -> Medium:
    """Encoded images in, `images` out: uint8 `[N, H, W, C]`."""
    return Medium(ENCODED["image"], preprocess, lambda images: {"images": images})


def audio_medium(preprocess: Preprocess, audio: AudioConfig) -> Medium:
    """WAV files of a window in; out `audio`, float32 `[N, T · hop]`, and `frames`.

    `frames` are the spectrograms, uint8 `[N, T, mels, 1]`. The signature `waveform` makes sound of
    any number of them: a recording of several windows is best put together before. `audio` of the
    signature `identity` is the settings as JSON.
    """

    def made(frames):
        return {"audio": waveform(frames, audio), "frames": frames}

    allowed = rows_at_once(audio)
    least, most = allowed[0], allowed[-1]

    @tf.function(input_signature=[tf.TensorSpec([None, None, audio.mels, 1], tf.uint8, "frames")])
    def joined(frames):
        frames = checked(frames)
        rows = tf.shape(frames)[1]
        fits = (rows >= least) & (rows <= most)
        required = require(fits, f"frames must have {least} to {most} rows", rows)
        with tf.control_dependencies([required]):
            return {"audio": waveform(frames, audio)}

    told = {"audio": audio.model_dump_json()}
    return Medium(ENCODED["audio"], preprocess, made, {"waveform": joined}, told)


def rows_at_once(audio: AudioConfig) -> range:
    """How many rows a spectrogram may have for the signature `waveform`."""
    # Half a frame of samples is mirrored at the ends; the most bounds the memory of a call.
    least = audio.fft // (2 * audio.hop) + 1
    most = max(audio.frames, int(audio.max_seconds * audio.rate) // audio.hop)
    return range(least, most + 1)
