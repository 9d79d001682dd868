"""STOI, the log-spectral distance and the resampler, against what they are written out."""

import math

import numpy as np
import pytest

from models.audio.log_spectral_distance import log_spectral_distance
from models.audio.resample import resampled
from models.audio.stoi import stoi
from tests.models.audio.signals import sung


def written_out_stoi(x, y):
    """Taal et al. 2011, frame by frame and band by band, at 10 kHz."""
    hann = [np.sin(np.pi * (n + 1) / 257) ** 2 for n in range(256)]
    starts = range(0, len(x) - 256, 128)
    frames = [(x[s : s + 256] * hann, y[s : s + 256] * hann) for s in starts]
    loudest = max(np.linalg.norm(a) for a, _ in frames)
    kept = [pair for pair in frames if np.linalg.norm(pair[0]) > loudest * 10 ** (-40 / 20)]
    joined = np.zeros([2, 128 * (len(kept) + 1)])
    for place, pair in enumerate(kept):
        joined[:, place * 128 : place * 128 + 256] += pair
    spectra = np.array(
        [
            [np.fft.rfft(each[s : s + 256] * hann, 512) for s in range(0, len(each) - 256, 128)]
            for each in joined
        ]
    )
    hertz = np.arange(257) * 10_000 / 512
    found = []
    for band in range(15):
        centre = 150 * 2 ** (band / 3)
        low, high = (np.abs(hertz - centre * 2 ** (side / 6)).argmin() for side in (-1, 1))
        a, b = np.sqrt((np.abs(spectra[:, :, low:high]) ** 2).sum(-1))
        for end in range(30, len(a) + 1):
            p, q = a[end - 30 : end], b[end - 30 : end]
            q = np.minimum(q * np.linalg.norm(p) / np.linalg.norm(q), p * (1 + 10 ** (15 / 20)))
            found.append(np.corrcoef(p, q)[0, 1])
    return np.mean(found)


def noisy(voice, share: float):
    rng = np.random.default_rng(0)
    return voice + share * voice.std() * rng.normal(size=len(voice))


def with_pause() -> np.ndarray:
    voice = sung(1, 12_000, rate=10_000)[0].astype("float64")
    voice[4000:6500] *= 1e-4
    return voice


@pytest.mark.parametrize("share", [0.1, 1.0, 5.0])
def test_stoi_is_the_formula(share):
    voice = with_pause()
    other = noisy(voice, share)
    # But for what keeps both from dividing by 0, in bands where there is next to nothing.
    assert stoi(voice, other, 10_000) == pytest.approx(written_out_stoi(voice, other), abs=1e-5)


# What pystoi 0.4.1 says of the same.
@pytest.mark.parametrize(("share", "expected"), [(0.3, 0.895490), (3.0, 0.645957)])
def test_stoi_is_that_of_a_peer(share, expected):
    voice = sung(1, 24_000, rate=16_000)[0].astype("float64")
    assert stoi(voice, noisy(voice, share), 16_000) == pytest.approx(expected, abs=1e-6)


def test_stoi_has_no_value_without_enough_speech():
    assert math.isnan(stoi(np.ones(3000), np.ones(3000), 10_000))
    assert math.isnan(stoi(np.zeros(100), np.zeros(100), 10_000))


@pytest.mark.parametrize("measure", [stoi, log_spectral_distance])
def test_waveforms_of_two_lengths_are_refused(measure):
    with pytest.raises(ValueError, match=r"equally long .* shapes \(9000,\) and \(9001,\)"):
        measure(np.zeros(9000), np.zeros(9001), 10_000)


def test_log_spectral_distance_is_the_formula():
    voice = sung(1, 4000)[0].astype("float64")
    other = noisy(voice, 0.3)
    hann = np.hanning(257)[:-1]
    of_frames = []
    for start in range(0, 4000 - 255, 64):
        x, y = (np.abs(np.fft.rfft(each[start : start + 256] * hann)) for each in (voice, other))
        x, y = (20 * np.log10(np.maximum(each * 2 / hann.sum(), 1e-4)) for each in (x, y))
        of_frames.append(np.sqrt(np.mean((x - y) ** 2)))
    found = log_spectral_distance(voice, other, 8000)
    assert found == pytest.approx(np.mean(of_frames))
    assert log_spectral_distance(voice, voice, 8000) == 0.0
    assert log_spectral_distance(voice, -voice, 8000) == 0.0
    assert log_spectral_distance(np.zeros(4000), voice * 0 + 1e-9, 8000) == 0.0
    half = log_spectral_distance(voice[:2000] + 0.1, (voice[:2000] + 0.1) / 2, 8000)
    assert half < 6.1
    assert math.isnan(log_spectral_distance(voice[:255], voice[:255], 8000))


@pytest.mark.parametrize(("rate", "new_rate"), [(16_000, 10_000), (8000, 16_000), (22_050, 8000)])
def test_a_sine_stays_one_at_another_rate(rate, new_rate):
    def sine(each: int) -> np.ndarray:
        return np.sin(2.0 * np.pi * 700.0 * np.arange(each // 2) / each + 0.3)

    found = resampled(sine(rate), rate, new_rate)
    assert len(found) == new_rate // 2
    inner = slice(200, -200)
    np.testing.assert_allclose(found[inner], sine(new_rate)[inner], atol=2e-3)


def test_what_the_new_rate_cannot_have_is_taken_out():
    high = np.sin(2.0 * np.pi * 6500.0 * np.arange(16_000) / 16_000)
    assert np.abs(resampled(high, 16_000, 10_000)[200:-200]).max() < 2e-3
    assert resampled(high, 16_000, 16_000) is high
