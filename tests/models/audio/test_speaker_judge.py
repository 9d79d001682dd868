"""The judge of voices: who is who, and what does not count."""

import numpy as np
import pytest

from models.audio.log_mels import log_mels
from models.audio.speaker_judge import NOBODY, learned, spoken_rows
from tests.models.audio.signals import small, sung

AUDIO = small(frames=32)
VOICES = np.array([3, 8, 11])


@pytest.fixture(scope="module")
def voices():
    """Windows of three voices, the first half of each to learn from: images and labels."""
    windows = 40
    # Of pitches that lie apart.
    samples = sung(9, windows * AUDIO.window_samples)[::4].reshape(3 * windows, -1)
    images, labels = log_mels(samples, AUDIO).numpy(), np.repeat(VOICES, windows)
    first = np.tile(np.arange(windows) < windows // 2, 3)
    return (images[first], labels[first]), (images[~first], labels[~first])


def trained(images, labels, **kwargs):
    return learned(images, labels, spoken_rows(images, AUDIO), **kwargs)


def test_it_tells_voices_that_it_has_not_heard_these_words_of(voices):
    (images, labels), (others, expected) = voices
    judge = trained(images, labels)
    np.testing.assert_array_equal(judge.speakers, VOICES)
    heard = judge(others, spoken_rows(others, AUDIO))
    assert np.mean(heard == expected) > 0.9
    again = trained(images, labels)
    np.testing.assert_array_equal(again.directions, judge.directions)
    assert np.any(trained(images, labels, seed=1).directions != judge.directions)


def test_who_says_more_is_not_more_likely(voices):
    (images, labels), (others, expected) = voices
    few = np.concatenate([np.flatnonzero(labels == 3), np.flatnonzero(labels != 3)[::4]])
    heard = trained(images[few], labels[few])(others, spoken_rows(others, AUDIO))
    assert np.mean(heard[expected != 3] != 3) > 0.8


def test_pauses_and_padding_do_not_count(voices):
    (images, labels), (others, _) = voices
    judge = trained(images, labels)
    spoken = spoken_rows(others, AUDIO)
    short = others.copy()
    short[:, 20:] = 0
    assert not spoken_rows(short, AUDIO)[:, 20:].any()
    spoken[:, 18:] = False
    noise = np.random.default_rng(0).integers(0, 256, others[:, 20:].shape, "uint8")
    loud = np.concatenate([others[:, :20], noise], axis=1)
    np.testing.assert_array_equal(judge(short, spoken), judge(loud, spoken))
    soft = np.full([1, 4, 20, 1], 200, "uint8")
    soft[0, 1] = 200 - round(39 / AUDIO.decibels_per_level)
    soft[0, 2] = 200 - round(41 / AUDIO.decibels_per_level)
    soft[0, 3] = 0
    np.testing.assert_array_equal(spoken_rows(soft, AUDIO), [[True, True, False, False]])


def test_nobody_is_heard_in_silence(voices):
    (images, labels), _ = voices
    silent = np.zeros_like(images[:2])
    assert (trained(images, labels)(silent, spoken_rows(silent, AUDIO)) == NOBODY).all()


def test_few_windows_and_some_without_sound_are_enough(voices):
    (images, labels), (others, _) = voices
    few = np.concatenate([images[::20], np.zeros_like(images[:1])])
    judge = trained(few, np.append(labels[::20], 99))
    np.testing.assert_array_equal(judge.speakers, VOICES)
    assert np.isfinite(judge.directions).all()
    assert set(judge(others, spoken_rows(others, AUDIO))) <= set(VOICES)
