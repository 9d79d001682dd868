"""What the features of a data set are called: the `data.features` section of a configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from components import features
from models.config import Section

Name = Annotated[str, Field(min_length=1)]


class FeatureNames(Section):
    """Names in the user's Examples; what ImageExampleGen writes always has our own."""

    # PNG or JPEG bytes, one for each record. Default image.
    image: Name = features.IMAGE
    # Class index, at most one for each record; also as a float or as text, where that is exact.
    # Records need not have it. Default label.
    label: Name = features.LABEL

    @model_validator(mode="after")
    def _two_features(self) -> FeatureNames:
        if self.image == self.label:
            raise ValueError(f"image and label must be two features. Received: {self.image!r}")
        return self
