"""What can be measured of speech: files of phones, and what a configuration may ask for."""

import numpy as np
import pytest

from components.errors import PipelineError
from components.evaluator import alignments
from pipeline.config import config
from pipeline.config.config import ConfigError
from tests.models.audio.signals import small


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is none that can be read"),
        ("[1]", "is not"),
        ('{"a": [[0, 1]]}', "is not"),
        ('{"a": [[0.2, 0.1, "p"]]}', "those of a are not"),
        ('{"a": [[0, 2, "p"], [1, 3, "p"]]}', "those of a are not"),
        ("{}", "has none"),
    ],
)
def test_what_is_no_file_of_phones_is_one_line(text, message, tmp_path):
    if text is not None:
        (tmp_path / "phones.json").write_text(text)
    with pytest.raises(PipelineError, match=rf"^gate.phones must be .*phones.json:? {message}"):
        alignments.read(str(tmp_path / "phones.json"))


def test_phones_are_found_by_time():
    found = alignments.Alignments(
        ("a", "b"), {b"u": tuple(map(np.array, ([0.1, 0.5], [0.2, 0.9], [1, 0])))}
    )
    times = np.array([0.05, 0.1, 0.19, 0.2, 0.5, 0.9])
    np.testing.assert_array_equal(found.at(b"u", times), [-1, 1, 1, -1, 0, -1])
    np.testing.assert_array_equal(found.at(b"v", times), [-1] * 6)
    audio = small(window_hop=48)  # 64 rows of 4 ms
    np.testing.assert_allclose(
        alignments.moments(np.array([0, 2]), 32, audio)[:, :2],
        [[0.004, 0.012], [0.388, 0.396]],
    )


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("digits", "stoi={min: 0.5}", "measured of sound, and data.kind is image; remove"),
        ("digits", "conversion_target={min: 0.5}", "measured of sound, and data.kind is image"),
        ("speech", "stoi={min: 0.5} data.audio.frames=40", "windows of 0.4 s are shorter than the"),
        (
            "speech",
            "conversion_source={max: 0.5} model.decoder.conditional=false",
            "model.decoder.conditional is true, and it is false; remove this threshold",
        ),
    ],
)
def test_a_threshold_on_what_is_not_measured_is_refused(name, overrides, message):
    gate, *others = overrides.rsplit(" ", 1) if "} " in overrides else [overrides]
    with pytest.raises(ConfigError, match=f"gate.thresholds.{gate.split('=')[0]}: .*{message}"):
        config.load(name, (f"gate.thresholds.{gate}", *others))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("speech", ("gate.thresholds.phoneme_accuracy={min: 0.3}",), "needs gate.phones"),
        ("digits", ("gate.phones=p.json",), "gate.phones is for data.kind audio"),
        (
            "speech",
            ("gate.phones=p.json", "model.encoder.downsampling=[2, 32]"),
            "one code a moment: a row of codes has 2",
        ),
    ],
)
def test_phones_that_cannot_be_measured_are_refused(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        config.load(name, overrides)


def test_speech_is_measured_by_default():
    loaded = config.load("speech", ("gate.thresholds.stoi={min: 0.5, worse_by: 0.1}",))
    assert loaded.gate.thresholds["stoi"].min == 0.5
