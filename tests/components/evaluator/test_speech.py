"""What is heard of held-out speech: waveforms, bits a second, and voices that are converted."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from components import features
from components.audio.wav import encode_wav
from components.errors import PipelineError
from components.evaluator import confusion
from components.evaluator.besides import besides_of
from components.evaluator.gate import CONVERSION, PHONES, SPEECH, GateConfig
from components.kinds import AudioKind
from models.audio.log_spectral_distance import log_spectral_distance
from models.audio.stoi import stoi
from tests.components.evaluator.judging import as_baseline, judge
from tests.fixtures.examples import write_images
from tests.models.audio.signals import small, sung

AUDIO = small(frames=128)  # 0.512 s
KIND = AudioKind(audio=AUDIO)
MOMENTS, STEP = 64, 16
CLASSES, SPEAKERS = 6, (0, 2, 5)
# The bands in which each voice is loud. The last is softer: what was louder is encoded otherwise.
VOICES = np.zeros([CLASSES + 1, AUDIO.mels])
VOICES[0, 2:9] = VOICES[2, 7:14] = 1.0
VOICES[5, 12:18] = 0.6
VOICES[CLASSES] = VOICES.max(axis=0)  # nobody's
BITS = 3.5  # of a code


class Coder(tf.Module):
    """A code is how loud two rows are, in steps, whoever speaks; decoding adds the voice."""

    def __init__(self, conditional=True):
        super().__init__()
        self._voices = tf.constant(VOICES, tf.float32)
        codes = tf.TensorSpec([None, MOMENTS, 1], tf.int32, name="codes")
        labels = tf.TensorSpec([None], tf.int32, name="labels")
        if conditional:
            self.decode = tf.function(self._decode, input_signature=[codes, labels])
        else:
            self.decode = tf.function(
                lambda codes: self._decode(codes, -tf.ones_like(codes[:, 0, 0])),
                input_signature=[codes],
            )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples):
        parsed = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        images = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, *KIND.shape])
        grey = tf.cast(images, tf.float32) / 255.0
        one = tf.ones([len(examples)])
        return {
            "codes": self.pixels(images)["codes"][..., 0],
            "squared_error": one,
            "pixel_sum": tf.reduce_sum(grey, [1, 2]),
            "pixel_square_sum": tf.reduce_sum(grey**2, [1, 2, 3]),
            "decoder_bits": one,
            "prior_bits": one * BITS * MOMENTS,
            "ssim": one,
            "num_codes": tf.fill([len(examples)], STEP),
            "num_classes": tf.fill([len(examples)], CLASSES),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, *KIND.shape], tf.uint8, name="images")])
    def pixels(self, images):
        rows = tf.reshape(images[..., 0], [-1, MOMENTS, 2 * AUDIO.mels])
        return {"codes": tf.cast(tf.reduce_max(rows, 2, keepdims=True), tf.int32) // STEP}

    def _decode(self, codes, labels):
        tf.debugging.assert_less(labels, CLASSES)
        level = tf.repeat(tf.cast(codes * STEP + STEP // 2, tf.float32)[..., 0], 2, axis=1)
        voice = tf.gather(self._voices, tf.where(labels < 0, CLASSES, labels))
        frames = tf.cast(level[:, :, None] * voice[:, None, :], tf.uint8)[..., None]
        loudness = tf.repeat(level / 256.0, AUDIO.hop, axis=1)
        hum = tf.sin(tf.range(AUDIO.window_samples, dtype=tf.float32) * 0.3)
        return {"audio": loudness * hum, "frames": frames}


def spectrograms(count, speakers, random):
    """Envelopes that go up and down, a pause, and the voice; uint8 `[count, T, mels, 1]`."""
    turns = random.uniform(0, 2 * np.pi, [count, 1]) + np.arange(AUDIO.frames) / 5.0
    level = 170.0 + 50.0 * np.sin(turns)
    level[:, 20:40] = 0.0
    noise = random.uniform(0.9, 1.0, [count, AUDIO.frames, AUDIO.mels])
    return (level[..., None] * VOICES[speakers][:, None] * noise).astype("uint8")[..., None]


def model(folder, **kwargs):
    module, artifact = Coder(**kwargs), standard_artifacts.Model()
    artifact.uri = str(folder)
    signatures = {name: getattr(module, name) for name in ("evaluate", "decode", "pixels")}
    tf.saved_model.save(module, str(folder / "Format-Serving"), signatures=signatures)
    return artifact


def examples(folder, held_out, trained, files=1):
    """Of held-out images, labels and sounds, and of images and labels that are trained on."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    images, labels, sounds = held_out
    wavs = np.array([encode_wav(each, AUDIO.rate) for each in sounds], object)
    where = located("eval", len(images))
    write_images(Path(folder), "eval", images, labels, files, {features.AUDIO: wavs, **where})
    write_images(Path(folder), "train", *trained, files, located("train", len(trained[0])))
    return artifact


def located(split, count):
    """Each window is of a recording of its own, in which it is one of the first three."""
    ids = np.array([f"{split}/{place}".encode() for place in range(count)], object)
    return {features.ID: ids, features.WINDOW: np.arange(count) % 3}


def said(split, images, random):
    """A phone a moment, which often depends on how loud it is; of most of most recordings."""
    moment = 2 * AUDIO.hop / AUDIO.rate
    found = {}
    for place, codes in enumerate(Coder().pixels(tf.constant(images))["codes"].numpy()[..., 0]):
        names = np.where(
            random.random(len(codes)) < 0.7, np.char.add("p", (codes // 3).astype(str)), "q"
        )
        first = place % 3 * MOMENTS
        found[f"{split}/{place}"] = [
            [(first + i) * moment, (first + i + 1) * moment, str(name)]
            for i, name in enumerate(names[: 50 + place])
        ]
    found.popitem()
    return found


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.array([0, 2, 5, 0, 2, 5, 2, 3, -1, 0])  # training has not heard 3
    images = spectrograms(len(labels), labels, random)
    sounds = (sung(len(labels), AUDIO.window_samples) * 2**15).astype("int16")
    sounds = [each[: len(each) - 400 * place] for place, each in enumerate(sounds)]
    trained = random.choice(SPEAKERS, 40)
    return (images, labels, sounds), (spectrograms(len(trained), trained, random), trained)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "now": model(root / "now"),
        "plain": model(root / "plain", conditional=False),
    }


@pytest.fixture(scope="module")
def phones(data, tmp_path_factory):
    """Path of who says which phone when, and the same."""
    path, random = tmp_path_factory.mktemp("phones") / "phones.json", np.random.default_rng(3)
    known = said("eval", data[0][0], random) | said("train", data[1][0], random)
    path.write_text(json.dumps(known))
    return str(path), known


def evaluate(folder, examples, model, thresholds, baseline=None, phones=None):
    gate = {"thresholds": thresholds, "phones": phones}
    return judge(folder, examples, model, gate, kind=KIND, baseline=baseline, num_codes=STEP)[0]


def distances(coder, held_out, conditional):
    """The means over windows, where there is a value."""
    images, labels, sounds = held_out
    codes = coder.pixels(tf.constant(images))["codes"]
    known = np.where(labels < CLASSES, labels, -1).astype("int32")
    made = (coder.decode(codes, known) if conditional else coder.decode(codes))["audio"].numpy()
    pairs = [(x / 2**15, y[: len(x)]) for x, y in zip(sounds, made, strict=True)]
    return {
        "stoi": np.nanmean([stoi(x, y, AUDIO.rate) for x, y in pairs]),
        "log_spectral_distance": np.nanmean(
            [log_spectral_distance(x, y, AUDIO.rate) for x, y in pairs]
        ),
    }


@pytest.fixture(scope="module")
def judged(data, models, phones, tmp_path_factory):
    """Beside a release that is told no speakers: the evaluation, and its folder."""
    folder = tmp_path_factory.mktemp("judged")
    gate = {
        "stoi": {"min": 0.1},
        "log_spectral_distance": {"max": 1.0},
        "bits_per_second": {"worse_by": 0.1},
        "conversion_target": {"min": 0.9, "worse_by": 0.0},
        "conversion_source": {"max": 0.1},
    }
    baseline = as_baseline(models["plain"], 7)
    made = examples(folder / "data", *data, files=3)
    found = evaluate(folder, made, models["now"], gate, baseline, phones[0])
    return found, folder / "evaluation"


def test_waveforms_and_bits_are_those_of_the_formulas(judged, data):
    found, held_out = judged[0], data[0]
    assert list(found.metrics)[-10:] == [*SPEECH, *CONVERSION, *PHONES]
    expected = {
        **distances(Coder(), held_out, True),
        "bits_per_second": BITS * MOMENTS / 0.512,
        "code_bits_per_second": 4 * MOMENTS / 0.512,
    }
    assert {name: found.metrics[name] for name in SPEECH} == pytest.approx(expected, rel=1e-5)
    plain = distances(Coder(False), held_out, False)
    assert {name: found.baseline[name] for name in plain} == pytest.approx(plain, rel=1e-5)
    assert set(found.by_label) == {-1, 0, 2, 3, 5}
    of_two = tuple(each[held_out[1] == 2] for each in held_out[:2])
    of_two = distances(Coder(), (*of_two, [held_out[2][at] for at in (1, 4, 6)]), True)
    assert found.by_label[2]["stoi"] == pytest.approx(of_two["stoi"], rel=1e-5)
    rules = {(check.metric, check.rule): check.ok for check in found.checks}
    assert rules["stoi", "min"] == (expected["stoi"] >= 0.1)
    assert not rules["log_spectral_distance", "max"]
    assert rules["bits_per_second", "worse_by"]
    # The last window ends before STOI can tell, so it counts for the rest only.
    assert math.isnan(stoi(*[held_out[2][-1] / 2**15] * 2, AUDIO.rate))


def test_voices_are_converted_to_the_next_speaker(judged, data):
    (found, folder), (images, labels, _) = judged, data[0]
    assert found.metrics["speaker_accuracy"] == 1.0
    assert found.metrics["conversion_target"] == 1.0
    assert found.metrics["conversion_source"] == 0.0
    # Content by NumPy: the codes of moments with sound, decoded as the next one and encoded again.
    kept, count = 0, 0
    for speaker, target in zip(SPEAKERS, (2, 5, 0), strict=True):
        loud = images[labels == speaker][..., 0].reshape(-1, MOMENTS, 2 * AUDIO.mels).max(axis=2)
        codes = loud[loud > 0] // STEP
        again = np.floor((codes * STEP + STEP // 2) * VOICES[target].max()).astype(int) // STEP
        kept, count = kept + (codes == again).sum(), count + codes.size
    assert 0.0 < kept < count
    assert found.metrics["conversion_content"] == pytest.approx(kept / count)
    assert found.by_label[0]["conversion_content"] == 1.0
    assert math.isnan(found.by_label[3]["conversion_target"])
    assert confusion.read(str(folder)) == {
        "original": [[0, 0, 3], [2, 2, 3], [5, 5, 2]],
        "reconstructed": [[0, 0, 3], [2, 2, 3], [5, 5, 2]],
        "converted": [[0, 2, 3], [2, 5, 3], [5, 0, 2]],
    }


def test_a_release_that_is_told_no_speakers_is_compared_by_the_rest(judged):
    found, _ = judged
    assert not set(CONVERSION[1:]) & set(found.baseline)
    assert found.baseline["speaker_accuracy"] == 1.0
    (note,) = [check.note for check in found.checks if check.note]
    assert note == "not compared: the decoder of release 7 is not told speakers"
    assert {check.metric for check in found.checks if not check.ok} == {"log_spectral_distance"}


def test_codes_stand_for_the_phones_that_training_heard_most_often_with_them(judged, data, phones):
    heard = {"eval": [], "train": []}
    for split, images in (("eval", data[0][0]), ("train", data[1][0])):
        codes = Coder().pixels(tf.constant(images))["codes"].numpy()[..., 0]
        for place, own in enumerate(codes):
            names = [name for _, _, name in phones[1].get(f"{split}/{place}", [])]
            heard[split] += list(zip(own.tolist(), names, strict=False))
    most = Counter(name for _, name in heard["train"]).most_common(1)[0][0]
    meant = {}
    for code in range(STEP):
        counts = Counter(name for own, name in heard["train"] if own == code)
        # Of equally many the first of the alphabet.
        meant[code] = min(counts, key=lambda name: (-counts[name], name)) if counts else most
    right = np.mean([meant[code] == name for code, name in heard["eval"]])
    often = np.mean([name == most for _, name in heard["eval"]])
    assert 0.0 < often < right < 1.0
    assert judged[0].metrics["phoneme_accuracy"] == pytest.approx(right)
    assert judged[0].metrics["phoneme_majority"] == pytest.approx(often)
    assert judged[0].baseline["phoneme_accuracy"] == pytest.approx(right)


def test_it_is_the_same_however_windows_are_spread(judged, data, models, phones, tmp_path):
    made = examples(tmp_path / "data", *data, files=1)
    again = evaluate(tmp_path, made, models["now"], {"stoi": {"min": 0.1}}, phones=phones[0])
    assert again.metrics == pytest.approx(judged[0].metrics, rel=1e-6)
    assert again.blessed


def test_without_two_speakers_no_voice_is_converted(data, models, tmp_path, caplog):
    held_out, (images, labels) = data
    made = examples(tmp_path, held_out, (images, np.where(labels == 2, 2, -1)))
    candidate = str(Path(models["now"].uri, "Format-Serving"))
    besides = besides_of(made, KIND, candidate, GateConfig())
    assert (besides.names, besides.judge) == (SPEECH, None)
    assert "does not have two speakers" in caplog.text
    gate = GateConfig.model_validate({"thresholds": {"conversion_source": {"max": 0.1}}})
    with pytest.raises(PipelineError, match=r"^gate.thresholds.conversion_source: no voice is"):
        besides_of(made, KIND, candidate, gate)
