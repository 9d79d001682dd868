"""What `models.export.export_release` leaves in the folder of a release, for those who read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Array = TypeVar("Array")

# Folders, each a SavedModel.
SERVED = ("encode", "decode", "sample")
# File with what there is to say of them: shapes, the codebook's hash, how training began.
FACTS = "model.json"

# By kind of data: the input of `encode`, and what `decode` and `sample` say the networks made,
# uint8 [N, H, W, C].
ENCODED = {"image": "images", "audio": "audio"}
_MADE = {"image": "images", "audio": "frames"}


def pixels_of(outputs: Mapping[str, Array]) -> Array:
    """Of the outputs of `decode` or `sample` what the networks made: images, or spectrograms."""
    return next(outputs[name] for name in _MADE.values() if name in outputs)


def takes_labels(decode: Any) -> bool:
    """Whether a loaded signature `decode` is that of a conditional decoder."""
    return "labels" in decode.structured_input_signature[1]
