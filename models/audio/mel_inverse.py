"""The power of mel bands spread over frequencies, so that the bands come out the same again."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.audio.config import AudioConfig
from models.audio.log_mels import mel_filters

# More of them sharpen the spectrum, but 50 raise STOI by 0.001 only (speech, 64 mels, 16 kHz).
_STEPS = 10


def power_spectrum(mel, audio: AudioConfig):
    """A spectrum, nowhere negative, whose power in mel bands is given.

        p ← p ⊙ (M (m / Mᵀp)) / M1,  M = `mel_filters`, m = `mel`

    The steps of Richardson (1972) and Lucy (1974), which lessen the Kullback-Leibler divergence
    between m and Mᵀp: errors count in proportion to the level of a band. Least squares would
    look after the loudest bands alone, and the pseudo-inverse, with what is negative cut off,
    does not even keep the bands: speech at 16 kHz with 64 mels, and Griffin-Lim behind it, had a
    STOI of 0.991, 0.985 with as many steps of non-negative least squares, and 0.979 with the
    pseudo-inverse.

    Args:
        mel: float32 `[N, T, mels]`.
        audio: sizes.

    Returns:
        float32 `[N, T, fft / 2 + 1]`, in units of `mel`; 0 at frequencies outside of all bands.
    """
    filters = mel_filters(audio)
    across = filters.sum(axis=0)  # of each band; none is empty
    weight = filters.sum(axis=1, keepdims=True)  # of each frequency; 0 outside of all bands
    back = (filters / np.where(weight > 0.0, weight, 1.0)).T  # (mels, frequencies)
    power = tf.tensordot(mel / across, back, 1)  # each band evenly over its frequencies
    for _ in range(_STEPS):
        bands = tf.tensordot(power, filters, 1)
        power *= tf.tensordot(mel / tf.maximum(bands, 1e-20), back, 1)
    return power
