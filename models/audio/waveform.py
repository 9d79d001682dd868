"""Spectrograms, as the networks see and make them, to waveforms."""

from __future__ import annotations

import tensorflow as tf

from models.arguments import never_empty
from models.audio.config import AudioConfig
from models.audio.griffin_lim import griffin_lim
from models.audio.log_mels import mel_power
from models.audio.mel_inverse import power_spectrum
from models.audio.spectrum import full_scale
from models.bounded import bounded

# What the spectra of one call may take, about, bytes; and how many of them exist at a time.
_BUDGET = 2**28
_ALIVE = 8
_COMPLEX = 8  # bytes


def waveform(images, audio: AudioConfig, seed: int = 0):
    """Waveforms whose `log_mels` are about these images.

    A waveform depends on its image and the seed alone, not on the images beside it.

    Args:
        images: uint8 `[N, T, mels, 1]`. Memory does not grow with N; where T is not known, one
            at a time is computed.
        audio: sizes.
        seed: of the phases that Griffin and Lim's algorithm begins with.

    Returns:
        float32 `[N, T · hop]` in [-1, 1], where 1 is full scale.
    """
    images = tf.convert_to_tensor(images)

    def some(images):
        power = power_spectrum(mel_power(images, audio), audio)
        samples = griffin_lim(tf.sqrt(power * full_scale(audio)), audio, seed)
        return tf.clip_by_value(samples, -1.0, 1.0)

    count, frames = tf.shape(images)[0], images.shape[1]
    images = never_empty(images)
    if frames is None:
        each = tf.TensorSpec([None], tf.float32)
        found = tf.map_fn(lambda image: some(image[None])[0], images, fn_output_signature=each)
        return found[:count]
    spectra = frames * (audio.fft // 2 + 1) * _COMPLEX
    at_once = max(1, _BUDGET // (spectra * _ALIVE))
    return bounded(some, [images], at_once, [frames * audio.hop], "float32")[:count]
