"""Waveforms to gray images of their spectra in mel bands, and back to the power of the bands."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from models.audio.config import AudioConfig, to_mel
from models.audio.spectrum import full_scale, stft


def log_mels(samples, audio: AudioConfig):
    """The levels of mel bands, frame by frame, as an image.

        grey = round(255 · (1 + dB / range_db)),  dB = 10 log₁₀ Σ_f filter(f) · power(f)

    cut off at 0 and 255. 0 dB is a sine of full scale; `AudioConfig.decibels_per_level` is the
    step of a grey level.

    Args:
        samples: float32 `[N, T · hop]`, 1 is full scale.
        audio: sizes.

    Returns:
        uint8 `[N, T, mels, 1]`.
    """
    power = tf.square(tf.abs(stft(samples, audio))) / full_scale(audio)
    mel = tf.tensordot(power, mel_filters(audio), 1)  # (N, T, mels)
    lowest = 10.0 ** (-audio.range_db / 10.0)
    decibels = tf.math.log(tf.maximum(mel, lowest)) * (10.0 / math.log(10.0))
    grey = 255.0 + decibels / audio.decibels_per_level
    return tf.cast(tf.clip_by_value(tf.round(grey), 0.0, 255.0), tf.uint8)[..., None]


def mel_power(images, audio: AudioConfig):
    """The power of mel bands that an image shows: the inverse of `log_mels` but for rounding.

    Args:
        images: uint8 `[N, T, mels, 1]`.
        audio: sizes.

    Returns:
        float32 `[N, T, mels]`, 1 is a sine of full scale; 0 where the image is black.
    """
    grey = tf.cast(images, tf.float32)[..., 0]
    decibels = (grey - 255.0) * audio.decibels_per_level
    return tf.where(grey > 0.0, tf.exp(decibels * (math.log(10.0) / 10.0)), 0.0)


def mel_filters(audio: AudioConfig) -> np.ndarray:
    """How much of a frequency counts in a band: float32 `[fft / 2 + 1, mels]`.

    Triangles on the mel scale, each from the middle of the band before to that of the next, with
    1 in its own: two neighbours share a frequency between them, so that the sum of the bands is
    the power of all that lies in them.
    """
    hz = np.arange(audio.fft // 2 + 1) * (audio.rate / audio.fft)
    mel = np.array([to_mel(each) for each in hz])[:, None]
    edges = np.array(audio.mel_edges)
    step = edges[1] - edges[0]
    rising, falling = (mel - edges[:-2]) / step, (edges[2:] - mel) / step
    return np.maximum(np.minimum(rising, falling), 0.0).astype(np.float32)
