"""Windows of sound as a report has them: 16-bit samples, and WAV files inside of the page."""

from __future__ import annotations

import base64

import numpy as np
import tensorflow as tf

from components import features
from components.audio.wav import encode_wav, sixteen_bits
from components.kinds import AudioKind
from models.audio.recordings import decode_windows


def of_records(records: tf.data.Dataset, chosen: np.ndarray, kind: AudioKind) -> np.ndarray:
    """The sound of some transformed Examples of a split that is not trained on.

    Args:
        records: serialized.
        chosen: their places, int [N].
        kind: of the data.

    Returns:
        int16 `[N, window_samples]`.
    """
    spec = {features.AUDIO: tf.io.FixedLenFeature([], tf.string)}
    wanted = records.enumerate().filter(lambda place, _: tf.reduce_any(place == chosen))
    found = {int(place): record for place, record in wanted.as_numpy_iterator()}
    serialized = [found[place] for place in chosen.tolist()]
    held = tf.io.parse_example(serialized, spec)[features.AUDIO]
    return sixteen_bits(decode_windows(held, kind.audio).numpy())


def data_uri(samples: np.ndarray, rate: int) -> str:
    """int16 [S] at `rate` Hz as a WAV file."""
    return "data:audio/wav;base64," + base64.b64encode(encode_wav(samples, rate)).decode()
