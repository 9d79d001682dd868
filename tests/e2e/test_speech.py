"""Speech from a folder of recordings to a release, and back to sound."""

from __future__ import annotations

import json
import math
import wave

import numpy as np
import pytest

from tests.fixtures.commands import vqvae

SMALL = {
    "data.audio": "{rate: 8000, fft: 128, hop: 32, mels: 16, frames: 128}",
    "model.encoder": "{downsampling: [2, 16], hidden_units: 8, residual_blocks: 1, "
    "residual_units: 4, instance_norm: true}",
    "model.quantizer": "{num_codes: 16, embedding_dim: 8}",
    "prior": "{layers: 2, hidden_units: 8, head_units: 8}",
    "training.vqvae": "{steps: 40, batch_size: 16, evaluate_every: 20, checkpoint_every: 20}",
    "training.prior": "{steps: 20, batch_size: 16, evaluate_every: 20, checkpoint_every: 20}",
    "gate.thresholds": "{nmse: {max: 1.0e+6}}",
}
SPEAKERS = ("ann", "bob", "cleo")
RECORDINGS, SECONDS, RATE = 6, 1.1, 8000
WINDOW = 128 * 32


def write_recordings(folder) -> None:
    """Voices of different pitch, as a user would bring them: a folder each."""
    from components.audio.wav import encode_wav
    from tests.models.audio.signals import sung

    voices = sung(len(SPEAKERS) * RECORDINGS, round(SECONDS * RATE), RATE)
    samples = np.rint(voices * 2**14).astype(np.int16)
    for number, each in enumerate(samples):
        speaker = SPEAKERS[number // RECORDINGS]
        split = "eval" if number % RECORDINGS == 0 else "train"
        path = folder / split / speaker / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_wav(each, RATE))


@pytest.mark.slow
def test_recordings_end_in_a_release_that_speaks(tmp_path):
    write_recordings(tmp_path / "recordings")
    data, root = tmp_path / "data", tmp_path / "run"
    vqvae("data", "audio-folder", data, "--source", tmp_path / "recordings")
    changes = [f"--set={key}={value}" for key, value in SMALL.items()]
    vqvae("run", "--config", "speech", "--data", data, "--root", root, *changes)
    manifest = json.loads((root / "serving" / "releases" / "1.json").read_text())
    metrics = manifest["metrics"]
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    assert {"stoi", "log_spectral_distance", "bits_per_second"} <= metrics.keys()
    assert metrics["conversion_target"] + metrics["conversion_source"] <= 1.0
    assert manifest["model"]["kind"] == "audio"
    assert manifest["model"]["audio"]["rate"] == RATE
    page = (root / "report" / "index.html").read_text()
    assert page.count("<audio") >= 2 * len(SPEAKERS)
    assert "Not everything could be read" not in page

    (source, *_) = sorted((tmp_path / "recordings" / "eval" / "ann").glob("*.wav"))
    vqvae("convert", source, "--speaker", "cleo", "--out", tmp_path / "b.wav", "--root", root)
    with wave.open(str(tmp_path / "b.wav")) as converted:
        assert converted.getframerate() == RATE
        assert converted.getnframes() == round(SECONDS * RATE)

    import tensorflow as tf

    models = {
        name: tf.saved_model.load(str(root / "serving" / name / "1"))
        for name in ("encode", "decode", "sample")
    }
    (wav, *_) = sorted((tmp_path / "recordings" / "eval").rglob("*.wav"))
    short = wav.read_bytes()[: 44 + 2 * 1000]  # its header still tells of all
    with pytest.raises(tf.errors.InvalidArgumentError, match="audio"):
        models["encode"].signatures["serving_default"](audio=tf.constant([short]))
    from components.audio.wav import encode_wav, samples_of

    window = encode_wav(samples_of(wav.read_bytes(), RATE)[:WINDOW], RATE)
    codes = models["encode"].signatures["serving_default"](audio=tf.constant([window]))["codes"]
    assert codes.shape == (1, 64, 1)
    for speaker in range(len(SPEAKERS)):
        decoded = models["decode"].signatures["serving_default"](
            codes=codes, labels=tf.constant([speaker])
        )
        assert decoded["audio"].shape == (1, WINDOW)
        assert decoded["frames"].shape == (1, 128, 16, 1)
        assert np.isfinite(decoded["audio"]).all()
    frames = tf.concat([decoded["frames"]] * 3, axis=1)
    joined = models["decode"].signatures["waveform"](frames=frames)["audio"]
    assert joined.shape == (1, 3 * WINDOW)
    drawn = models["sample"].signatures["serving_default"](
        labels=tf.constant([0, -1]), seed=tf.constant(3, tf.int64), temperature=tf.constant(1.0)
    )
    assert drawn["audio"].shape == (2, WINDOW)
