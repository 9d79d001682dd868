"""The `data` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from components.example_gen.config import FeatureNames
from components.features import DataKind, Pixels
from components.kinds import AudioKind, ImageKind
from models.audio.config import AudioConfig
from models.config import Fraction, ImageShape
from models.section import Section
from pipeline.config.home_path import HomePath


class DataConfig(Section):
    """What the data are and how tolerant ingestion is."""

    # Directory of TFRecords: train/ and eval/, one flat set, or {SPAN} patterns. No default:
    # `--data` gives it, and without either the embedded digits are made.
    path: HomePath | None = None
    # What the records hold: `image` or `audio`. Default image.
    kind: DataKind = "image"
    # Shape that every image is cropped and resized to; of audio it follows from `audio`.
    image: ImageShape
    # What becomes of audio; for `kind: audio` only.
    audio: AudioConfig = AudioConfig()
    # What the features of the records are called, such as {image: image/encoded, label:
    # image/class/label}. By default `image` or `audio`, and `label`.
    features: FeatureNames = FeatureNames()
    # Share of the records that may be unusable before the run stops. Default 0.01.
    max_rejected_fraction: Fraction = 0.01
    # A curated schema (schema.pbtxt) to validate against; by default it is inferred.
    schema_path: HomePath | None = None
    # What Transform writes: `stored`: raw pixels, decoded once; `encoded`: the images as they came,
    # which Trainer, Tokenizer and Evaluator decode each time they read them. Raw pixels of photos
    # take about ten times the space. Default stored.
    pixels: Pixels = "stored"
    # Records in a file between components. A file is what a worker takes at a time. Default: as
    # many as have 256 MiB, encoded or as pixels.
    records_per_file: Annotated[int, Field(gt=0)] | None = None
    # Images that Transform decodes at a time, which bounds its memory. Default 128.
    transform_batch_size: Annotated[int, Field(gt=0)] = 128

    @model_validator(mode="before")
    @classmethod
    def _image_of_audio(cls, values: Any) -> Any:
        """Whoever reads the configuration finds the shape in one place, whatever the kind."""
        if not isinstance(values, dict) or values.get("kind") != "audio" or "image" in values:
            return values
        audio = AudioConfig.model_validate(values.get("audio", {}))
        return {**values, "image": _spectrogram(audio).model_dump()}

    @model_validator(mode="after")
    def _of_the_kind(self) -> DataConfig:
        if self.kind == "image":
            if self.audio != AudioConfig():
                raise ValueError("audio is for kind audio; leave it out, or set kind to audio")
            return self
        if self.image != _spectrogram(self.audio):
            raise ValueError(
                "image follows from audio.frames and audio.mels for kind audio; leave it out"
            )
        if self.pixels != "stored":
            raise ValueError(
                f"pixels {self.pixels} is for images: spectrograms are smaller than their sound; "
                "leave it at stored for kind audio"
            )
        return self

    @property
    def described(self) -> ImageKind | AudioKind:
        """What the components are told of the data."""
        if self.kind == "audio":
            return AudioKind(audio=self.audio)
        return ImageKind(image=self.image)


def _spectrogram(audio: AudioConfig) -> ImageShape:
    return ImageShape(height=audio.frames, width=audio.mels, channels=1)
