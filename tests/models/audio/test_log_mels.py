"""Spectrograms against their formulas, and bands back to spectra."""

import numpy as np
import pytest
import tensorflow as tf

from models.audio.log_mels import log_mels, mel_filters, mel_power
from models.audio.mel_inverse import power_spectrum
from models.audio.spectrum import full_scale, istft, stft, window
from tests.models.audio.signals import small, sung


def written_out_stft(samples, audio):
    """Frame by frame."""
    left = (audio.fft - audio.hop) // 2
    padded = np.pad(samples, (left, audio.fft - audio.hop - left), mode="reflect")
    hann = [np.sin(np.pi * n / audio.fft) ** 2 for n in range(audio.fft)]
    starts = range(0, len(samples), audio.hop)
    return np.array([np.fft.rfft(padded[start : start + audio.fft] * hann) for start in starts])


def written_out_grey(samples, audio):
    """Band by band."""
    power = np.abs(written_out_stft(samples, audio)) ** 2 / full_scale(audio)
    mel = [1127.0 * np.log1p(k * audio.rate / audio.fft / 700.0) for k in range(audio.fft // 2 + 1)]
    image = np.empty([len(power), audio.mels])
    for band, (low, middle, high) in enumerate(
        zip(audio.mel_edges, audio.mel_edges[1:], audio.mel_edges[2:], strict=False)
    ):
        weights = np.interp(mel, [low, middle, high], [0.0, 1.0, 0.0])
        level = 10.0 * np.log10(np.maximum(power @ weights, 1e-30))
        image[:, band] = np.clip(np.round(255.0 * (1.0 + level / audio.range_db)), 0, 255)
    return image


@pytest.mark.parametrize("settings", [{}, {"hop": 25, "lowest": 80.0, "highest": 3500.0}])
def test_levels_are_those_of_the_formula(settings):
    audio = small(**settings)
    samples = sung(2, 20 * audio.hop)
    images = log_mels(samples, audio)
    assert images.shape == (2, 20, audio.mels, 1)
    assert images.dtype == "uint8"
    for image, voice in zip(images.numpy(), samples, strict=True):
        # Where a level is half-way, float32 may round it otherwise.
        difference = np.abs(image[..., 0] - written_out_grey(voice, audio))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_filters_are_those_of_tensorflow_but_that_all_frequencies_count():
    audio = small(lowest=50.0)
    theirs = tf.signal.linear_to_mel_weight_matrix(20, 65, 8000, 50.0, 4000.0)
    np.testing.assert_allclose(mel_filters(audio), theirs, atol=1e-4)
    between = np.asarray(audio.mel_edges)[[1, -2]]
    hertz = 700.0 * np.expm1(between / 1127.0)
    inside = slice(int(hertz[0] / 62.5) + 1, int(hertz[1] / 62.5))
    np.testing.assert_allclose(mel_filters(audio).sum(1)[inside], 1.0, atol=1e-5)


def test_white_is_a_sine_of_full_scale_and_black_is_silence():
    audio = small(mels=8)
    middle = 700.0 * np.expm1(audio.mel_edges[5] / 1127.0)
    time = np.arange(64 * audio.hop) / audio.rate
    sine = np.sin(2.0 * np.pi * middle * time, dtype="float32")
    loud, soft, silent = (
        log_mels(each[None], audio)[0, 8:-8, 4, 0].numpy()
        for each in (sine, 0.1 * sine, 0.0 * sine)
    )
    assert loud.min() >= 250  # what the window spreads is shared with the bands beside it
    np.testing.assert_allclose(loud.astype(int) - soft, 20.0 / audio.decibels_per_level, atol=1)
    assert not silent.any()


def test_power_is_what_an_image_shows():
    audio = small()
    grey = np.arange(256, dtype="uint8").reshape(1, -1, 1, 1)
    power = mel_power(grey, audio)[0, :, 0].numpy()
    assert power[0] == 0.0
    np.testing.assert_allclose(10 * np.log10(power[1:]), np.arange(-254, 1) * 80 / 255, atol=1e-4)


def test_a_spectrum_has_the_bands_that_it_was_made_of():
    audio = small(lowest=100.0)
    mel = mel_power(log_mels(sung(1, 40 * audio.hop), audio), audio).numpy()
    power = power_spectrum(mel, audio).numpy()
    assert power.shape == (1, 40, 65)
    assert power.min() >= 0.0
    assert not power[..., 0].any()  # 0 Hz lies in no band
    shown = mel > 1e-7
    error = 10.0 * np.log10((power @ mel_filters(audio))[shown] / mel[shown])
    assert np.sqrt(np.mean(error**2)) < 1.5


def test_a_waveform_comes_back_from_its_spectra():
    audio = small(hop=25)
    samples = sung(2, 30 * audio.hop)
    spectra = stft(samples, audio)
    np.testing.assert_allclose(spectra[0], written_out_stft(samples[0], audio), atol=1e-4)
    np.testing.assert_allclose(istft(spectra, audio), samples, atol=1e-6)


def test_frames_are_added_as_least_squares_says():
    audio = small()
    rng = np.random.default_rng(0)
    spectra = (rng.normal(size=(2, 1, 9, 65)) * np.array([1, 1j])[:, None, None, None]).sum(0)
    spectra = spectra.astype("complex64")
    sums, squares = np.zeros([2, 128 + 8 * 32])
    for place, frame in enumerate(np.fft.irfft(spectra[0])):
        at = slice(place * 32, place * 32 + 128)
        sums[at] += frame * window(audio)
        squares[at] += window(audio) ** 2
    expected = (sums / np.maximum(squares, 1e-9))[48 : 48 + 9 * 32]
    np.testing.assert_allclose(istft(spectra, audio)[0], expected, atol=1e-5)
