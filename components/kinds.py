"""What a data set holds, images or audio, and how either becomes what the networks see.

All that differs by kind before the networks is asked of these classes; behind Transform everything
is an image. A configuration is made of them, and so they leave TensorFlow to their methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from components import features
from components.audio.wav import encode_wav
from models.audio.config import AudioConfig
from models.config import ImageShape
from models.section import Section


class ImageKind(Section):
    """PNG or JPEG images, cropped and resized to one shape."""

    # Of Examples, what is encoded.
    feature: ClassVar[str] = features.IMAGE
    kind: Literal["image"] = "image"
    image: ImageShape

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the networks see."""
        return self.image.hwc

    def blank(self) -> bytes:
        """A black image."""
        import tensorflow as tf

        return tf.io.encode_png(tf.zeros(self.shape, tf.uint8)).numpy()

    def passed_on(self, split_is_learned: bool) -> tuple[str, ...]:
        """Features that transformed Examples have besides pixels and label."""
        return ()

    def pixels(self, encoded):
        """string `[N]` -> uint8 `[N, H, W, C]`."""
        from models.images import preprocess_images

        return preprocess_images(encoded, self.shape)


class AudioKind(Section):
    """Windows of recordings, WAV files, as spectrograms."""

    # Of Examples, what is encoded.
    feature: ClassVar[str] = features.AUDIO
    kind: Literal["audio"] = "audio"
    audio: AudioConfig = AudioConfig()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, bands and channels of what the networks see."""
        return self.audio.frames, self.audio.mels, 1

    def blank(self) -> bytes:
        """Silence."""
        return encode_wav(np.zeros(self.audio.window_samples, np.int16), self.audio.rate)

    def passed_on(self, split_is_learned: bool) -> tuple[str, ...]:
        """Features that transformed Examples have besides pixels and label.

        Which recording a window is of, and where; and the sound itself where waveforms are held
        against it.
        """
        where = (features.ID, features.WINDOW)
        return where if split_is_learned else (*where, features.AUDIO)

    def pixels(self, encoded):
        """string `[N]` -> uint8 `[N, T, mels, 1]`."""
        from models.audio.log_mels import log_mels
        from models.audio.recordings import decode_windows

        return log_mels(decode_windows(encoded, self.audio), self.audio)


Kind = Annotated[ImageKind | AudioKind, Field(discriminator="kind")]
_ANY: TypeAdapter[ImageKind | AudioKind] = TypeAdapter(Kind)


def kind_of(facts: Mapping[str, Any]) -> ImageKind | AudioKind:
    """Of a release, by its `models.exported.FACTS`; those of before are of images."""
    if facts.get("kind") == "audio":
        return AudioKind(audio=facts["audio"])
    height, width, channels = facts["image"]
    return ImageKind(image=ImageShape(height=height, width=width, channels=channels))


def read_kind(told: str) -> ImageKind | AudioKind:
    """From the JSON of one of them, as components are told it."""
    return _ANY.validate_json(told)
