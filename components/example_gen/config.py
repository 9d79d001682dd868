"""What the features of a data set are called: the `data.features` section of a configuration."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from components import features
from components.features import DataKind
from models.config import Section

Name = Annotated[str, Field(min_length=1)]


class Fields(NamedTuple):
    """Names in the user's Examples, of one kind of data."""

    payload: str  # of what is encoded: an image, or audio
    own: str  # what we call it
    label: str

    @property
    def are_ours(self) -> bool:
        return (self.payload, self.label) == (self.own, features.LABEL)


class FeatureNames(Section):
    """Names in the user's Examples; what ImageExampleGen writes always has our own."""

    # PNG or JPEG bytes, one for each record. Default image.
    image: Name = features.IMAGE
    # WAV, FLAC, Ogg or MP3 bytes, one for each record; for `data.kind: audio`. Default audio.
    audio: Name = features.AUDIO
    # Class index, at most one for each record; also as a float or as text, where that is exact.
    # Records need not have it. Default label.
    label: Name = features.LABEL

    @model_validator(mode="after")
    def _two_features(self) -> FeatureNames:
        for own in (features.IMAGE, features.AUDIO):
            if getattr(self, own) == self.label:
                raise ValueError(f"{own} and label must be two features. Received: {self.label!r}")
        return self

    def of(self, kind: DataKind) -> Fields:
        """Those that data of a kind have."""
        own = {"image": features.IMAGE, "audio": features.AUDIO}[kind]
        return Fields(getattr(self, own), own, self.label)
