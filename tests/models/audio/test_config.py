"""Settings of spectrograms: what follows from them, and what does not go together."""

import pytest

from models.audio.config import AudioConfig
from tests.models.audio.signals import small


def test_what_follows():
    audio = AudioConfig()
    assert (audio.window_samples, audio.frames_between, audio.band_end) == (20480, 128, 8000.0)
    assert audio.decibels_per_level == pytest.approx(80 / 255)
    assert small(window_hop=16).frames_between == 16
    edges = small(lowest=100.0, highest=3000.0).mel_edges
    hertz = [700.0 * (10.0 ** (mel / 2595.0) - 1.0) for mel in (edges[0], edges[-1])]
    assert hertz == pytest.approx([100.0, 3000.0], rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fft": 127}, "fft must be an even number of samples. Received: 127"),
        ({"hop": 65}, r"hop \(65\) must be at most half of fft \(128\)"),
        ({"frames": 4}, r"frames \(4\) · hop \(32\) = 128 samples are no longer than one frame"),
        ({"window_hop": 65}, r"window_hop \(65\) is above frames \(64\)"),
        ({"highest": 4001.0}, r"highest \(4001 Hz\) is above half of rate \(8000 Hz\)"),
        ({"lowest": 4000.0}, r"lowest \(4000 Hz\) must be below highest \(4000 Hz\)"),
        ({"mels": 80}, r"mels \(80\) are too many for fft \(128\): no frequency falls into the"),
    ],
)
def test_what_does_not_go_together_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)
