"""Spectra without phases to waveforms, by Griffin and Lim's algorithm with momentum."""

from __future__ import annotations

import math

import tensorflow as tf

from models.audio.config import AudioConfig
from models.audio.spectrum import istft, stft

_MOMENTUM = 0.99


def griffin_lim(magnitude, audio: AudioConfig, seed: int = 0):
    """A waveform whose spectra have about these magnitudes (Perraudin, Balazs & Søndergaard 2013).

        c_n = stft(istft(magnitude · t_{n-1} / |t_{n-1}|)),  t_n = c_n + α (c_n - c_{n-1})

    The fast Griffin-Lim algorithm: each step takes the phases of the waveform that is nearest to
    the spectra of the step before; α = 0.99 takes it a step further in the same direction.

    Args:
        magnitude: float32 `[N, T, fft / 2 + 1]`.
        audio: sizes, and the number of steps.
        seed: of the phases that it begins with, which are the same for all rows.

    Returns:
        float32 `[N, T · hop]`.
    """
    magnitude = tf.convert_to_tensor(magnitude)

    def nearest(spectra):
        scale = magnitude / tf.maximum(tf.abs(spectra), 1e-30)
        return istft(tf.cast(scale, spectra.dtype) * spectra, audio)

    def step(index, before, t):
        c = tf.ensure_shape(stft(nearest(t), audio), shape)
        return index + 1, c, c + tf.cast(_MOMENTUM, c.dtype) * (c - before)

    # Of one row, for all: what becomes of a spectrum does not depend on those beside it.
    turns = tf.random.stateless_uniform(tf.shape(magnitude)[1:], [seed, 0], alg="philox")
    angle = 2.0 * math.pi * turns
    t = tf.complex(magnitude * tf.cos(angle), magnitude * tf.sin(angle))
    shape = magnitude.shape
    c = tf.ensure_shape(stft(istft(t, audio), audio), shape)
    _, _, t = tf.while_loop(
        lambda index, *_: index < audio.iterations,
        step,
        (0, c, c),
        shape_invariants=(tf.TensorShape([]), shape, shape),
        parallel_iterations=1,
    )
    return nearest(t)
