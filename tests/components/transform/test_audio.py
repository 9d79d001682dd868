"""Recordings from TFRecords to spectrograms, and the graph that serving makes them with."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised
from components.audio.windows import windows
from components.kinds import AudioKind
from components.record_files import read_records
from models.audio.log_mels import log_mels
from models.audio.recordings import decode_windows
from tests.fixtures import audio as files
from tests.fixtures import ingestion
from tests.fixtures.ingestion_chain import run_chain
from tests.models.audio.signals import small, sung

AUDIO = small()
RATE = AUDIO.rate
WINDOW = AUDIO.window_samples
VOICES = [files.sixteen_bits(each) for each in sung(4, 3 * WINDOW)]
STEREO = np.stack([VOICES[1], VOICES[1]], axis=1)
# What is in the records of the training split, by id.
GOOD = {
    b"three windows": files.wav(VOICES[0], RATE),
    b"in stereo": files.encoded("flac", "flac", STEREO, RATE),
    b"at another rate": files.wav(files.sixteen_bits(files.tone(0.3, 44_100)), 44_100),
    b"a window and a bit": files.wav(VOICES[2][: WINDOW + 100], RATE),
}
NAN = np.full(WINDOW, np.nan, np.float32)
BAD = {
    b"empty": (b"", "empty audio"),
    b"a picture": (ingestion.picture(0), "not WAV, FLAC, Ogg or MP3 audio"),
    b"cut off": (files.wav(VOICES[0], RATE)[:-99], "truncated WAV"),
    b"nan": (files.wav(NAN, RATE), "NaN or infinite samples"),
    b"silent": (files.wav(np.zeros(WINDOW, np.int16), RATE), "silent"),
    b"short": (files.wav(VOICES[0][:100], RATE), "shorter than 0.1 s"),
}
HELD_OUT = {b"held out": files.wav(VOICES[3], RATE)}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Folders of the ingested and of the transformed Examples, and of the transform graph."""
    root = tmp_path_factory.mktemp("audio")
    splits = {"train": GOOD | {name: data for name, (data, _) in BAD.items()}, "eval": HELD_OUT}
    for split, recordings in splits.items():
        records = [
            ingestion.example(audio=data, id=name, label=number % 2, source=b"a.wav")
            for number, (name, data) in enumerate(recordings.items())
        ]
        ingestion.write(root / f"data/{split}/a.tfrecord.gz", records)
    graph, transformed = run_chain(root / "run", root / "data", AudioKind(audio=AUDIO))
    (ingested,) = root.glob("run/ImageExampleGen/examples/*")
    return ingested, transformed, graph


def expected(recordings: dict[bytes, bytes]) -> list[tuple[bytes, int, bytes]]:
    """Id, number and sound of every window."""
    allowed = AudioLimits(RATE)
    return [
        (name, number, window)
        for name, data in recordings.items()
        for number, window in enumerate(windows(normalised(data, allowed), AUDIO))
    ]


def records(uri, split: str) -> list[dict]:
    paths = sorted(str(path) for path in (uri / f"Split-{split}").iterdir())
    return [ingestion.features(each) for each in read_records(paths).as_numpy_iterator()]


def test_usable_recordings_become_windows_and_the_others_are_named(chain):
    ingested, _, _ = chain
    for split, recordings in (("train", GOOD), ("eval", HELD_OUT)):
        found = records(ingested, split)
        assert [set(each) for each in found] == [{"audio", "id", "label", "window"}] * len(found)
        told = [(*each["id"], *each["window"], *each["audio"]) for each in found]
        assert told == expected(recordings)
    counted = json.loads((ingested / "rejected" / "summary.json").read_text())
    assert counted["records"] == len(GOOD) + len(BAD) + len(HELD_OUT)
    assert counted["rejected"] == len(BAD)
    (listed,) = (ingested / "rejected").glob("*.jsonl")
    reasons = [json.loads(line)["reason"] for line in listed.read_text().splitlines()]
    assert reasons == [reason for _, reason in BAD.values()]


def test_transformed_are_spectrograms_and_held_out_the_sound_too(chain):
    _, transformed, _ = chain
    for split, recordings in (("train", GOOD), ("eval", HELD_OUT)):
        found = records(transformed, split)
        heard = ["audio"] if split == "eval" else []
        names = {name for each in found for name in each}
        assert names == {"image", "label", "id", "window", *heard}
        wav = [window for *_, window in expected(recordings)]
        shown = log_mels(decode_windows(wav, AUDIO), AUDIO).numpy()
        stored = [np.frombuffer(each["image"][0], np.uint8) for each in found]
        np.testing.assert_array_equal(np.reshape(stored, shown.shape), shown)
        if heard:
            assert [each["audio"][0] for each in found] == wav


def test_the_graph_makes_the_same_of_one_window(chain):
    _, transformed, graph = chain
    layer = tft.TFTransformOutput(str(graph)).transform_features_layer()
    wav = [window for *_, window in expected(HELD_OUT)]
    raw = tf.sparse.from_dense(tf.constant(wav)[:, None])
    made = layer({features.AUDIO: raw})[features.IMAGE].numpy()
    assert made.tolist() == [each["image"][0] for each in records(transformed, "eval")]
