"""Waveforms of spectrograms."""

import numpy as np
import pytest
import tensorflow as tf

from models.audio.griffin_lim import griffin_lim
from models.audio.log_mels import log_mels
from models.audio.spectrum import istft, stft
from models.audio.stoi import stoi
from models.audio.waveform import waveform
from tests.models.audio.signals import small, sung


def test_steps_are_those_of_the_formula():
    audio = small(iterations=3)
    magnitude = np.abs(stft(sung(1, 12 * audio.hop), audio))
    turns = tf.random.stateless_uniform(magnitude.shape[1:], [5, 0], alg="philox").numpy()

    def consistent(t):
        return stft(istft(tf.constant(magnitude * t / np.abs(t), "complex64"), audio), audio)

    t = np.exp(2j * np.pi * turns)[None]
    before = t = consistent(t).numpy()
    for _ in range(3):
        c = consistent(t).numpy()
        t, before = c + 0.99 * (c - before), c
    expected = istft(tf.constant(magnitude * t / np.abs(t), "complex64"), audio)
    np.testing.assert_allclose(griffin_lim(magnitude, audio, 5), expected, atol=1e-4)


def test_more_steps_come_nearer():
    samples = sung(2, 64 * 32)
    magnitude = tf.abs(stft(samples, small()))
    errors = []
    for steps in (1, 8, 40):
        made = griffin_lim(magnitude, small(iterations=steps))
        errors.append(float(tf.norm(tf.abs(stft(made, small())) - magnitude)))
    assert errors[2] < 0.7 * errors[1] < 0.5 * errors[0]


def test_a_voice_is_understood_through_its_spectrogram():
    audio = small(fft=256, hop=80, mels=32)
    samples = sung(2, 128 * audio.hop)
    images = log_mels(samples, audio)
    made = waveform(images, audio).numpy()
    assert made.shape == samples.shape
    assert np.abs(made).max() <= 1.0
    for voice, again in zip(samples, made, strict=True):
        assert stoi(voice, again, audio.rate) > 0.93
    difference = log_mels(made, audio).numpy().astype(int) - images.numpy()
    assert np.abs(difference).mean() * audio.decibels_per_level < 2.0
    other = waveform(images, audio, seed=1).numpy()
    assert np.any(other != made)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_it_is_exported_for_any_number(count, tmp_path, monkeypatch):
    audio = small(iterations=4)
    images = np.repeat(log_mels(sung(1, 64 * 32), audio).numpy(), count, axis=0)
    images[1:] //= 2
    # Two at a time.
    monkeypatch.setattr("models.audio.waveform._BUDGET", 2 * 64 * 65 * 64)
    module = tf.Module()
    spec = tf.TensorSpec([None, 64, audio.mels, 1], tf.uint8)
    module.decode = tf.function(lambda images: waveform(images, audio), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path))
    made = tf.saved_model.load(str(tmp_path)).decode(images)
    assert made.shape == (count, 64 * 32)
    for row in range(min(count, 2)):
        alone = waveform(images[row : row + 1], audio)[0]
        np.testing.assert_allclose(made[row], alone, atol=1e-5)
    if count > 2:
        np.testing.assert_allclose(made[-1], made[1], atol=1e-5)


def test_silence_stays_silent():
    assert not np.any(waveform(np.zeros([1, 64, 20, 1], "uint8"), small()))
