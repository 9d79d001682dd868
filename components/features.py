"""Names and encodings of the features that travel between components."""

from __future__ import annotations

from typing import Literal

import numpy as np

# Examples as the user writes them, and (with other contents) as Transform writes them.
IMAGE = "image"  # PNG or JPEG bytes; after Transform also H·W·C raw uint8 bytes, row-major
# WAV, FLAC, Ogg or MP3 bytes, of speech; after ImageExampleGen WAV of one window of a recording,
# and after Transform there in the splits that are not trained on.
AUDIO = "audio"
LABEL = "label"  # int64; after Transform always present, NO_LABEL where there was none
# Bytes, of an utterance: what its transcript and phones are found by. Everything passes it on.
ID = "id"
# Only as a maker of data sets writes them: bytes, the file that the image was read from. It is
# for messages about images that cannot be used, and ImageExampleGen does not pass it on.
SOURCE = "source"

# int64, the number of a window of a recording, from 0; ImageExampleGen writes it.
WINDOW = "window"

# What a data set holds.
DataKind = Literal["image", "audio"]

# How transformed Examples hold images: as raw pixels, or encoded as they came, to be decoded at
# each reading by the operations that are in the Transform graph.
Pixels = Literal["stored", "encoded"]

# Examples as the Tokenizer writes them, beside LABEL.
CODES = "codes"  # h·w(·g) raw little-endian integers of `code_dtype`, row-major

NO_LABEL = -1


def code_dtype(num_codes: int) -> np.dtype:
    """The smallest integer type that holds the codes of a codebook of `num_codes`."""
    if num_codes <= 2**8:
        return np.dtype("u1")
    if num_codes <= 2**16:
        return np.dtype("<u2")
    return np.dtype("<i4")
