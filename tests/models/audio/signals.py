"""Small settings, and sounds that are made on the spot."""

from __future__ import annotations

import numpy as np

from models.audio.config import AudioConfig

# 8 kHz, a window of 0.256 s.
SMALL = {"rate": 8000, "fft": 128, "hop": 32, "mels": 20, "frames": 64}


def small(**settings: object) -> AudioConfig:
    return AudioConfig.model_validate({**SMALL, **settings})


def sung(count: int, samples: int, rate: int = 8000) -> np.ndarray:
    """Voices with harmonics whose pitch, vowel and loudness change; float32 `[count, samples]`."""
    time = np.arange(samples) / rate
    voices = []
    for voice in range(count):
        pitch = 120.0 + 30.0 * voice + 20.0 * np.sin(2.0 * np.pi * (1.3 + 0.2 * voice) * time)
        phase = 2.0 * np.pi * np.cumsum(pitch) / rate
        formant = 900.0 + 600.0 * np.sin(2.0 * np.pi * 2.1 * time + voice)
        harmonics = [
            np.exp(-np.square((place * pitch - formant) / 500.0)) * np.sin(place * phase)
            for place in range(1, 25)
        ]
        loudness = 0.55 + 0.45 * np.sin(2.0 * np.pi * 3.7 * time + voice)
        voices.append(0.2 * loudness * np.sum(harmonics, axis=0))
    return np.array(voices, "float32")
