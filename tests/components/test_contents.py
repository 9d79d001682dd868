"""What is told of an artifact's records is what is in it, and what is not is refused by name."""

import re

import google_crc32c
import numpy as np
import pytest

from components import contents
from components.contents import PixelSums, SplitContents
from components.errors import PipelineError
from components.record_files import read_records
from tests.fixtures.examples import write_images

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 7, 3), np.uint8)


@pytest.fixture(name="pattern")
def fixture_pattern(tmp_path):
    """Of a split of two files, as a Trainer gets it."""
    write_images(tmp_path, "train", IMAGES, np.arange(50) % 7, files=[20, 30])
    return f"{tmp_path}/Split-train/*"


def test_files_are_told_as_they_are(pattern):
    found = contents.files([pattern])
    assert [file.records for file in found.values()] == [20, 30]
    for path, file in found.items():
        records = list(read_records(path).as_numpy_iterator())
        assert file.longest == max(map(len, records))
        assert file.crc32c == google_crc32c.value(b"".join(records))


@pytest.mark.parametrize("records", [0, 1, 29])
def test_a_file_that_ends_between_two_records_is_damaged(pattern, records, tmp_path):
    path = sorted((tmp_path / "Split-train").iterdir())[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * records // 30])  # all are of one length
    with pytest.raises(PipelineError, match=rf"{re.escape(str(path))} is damaged: it has .* bytes"):
        contents.files([pattern])


def test_a_file_too_few_or_too_many_is_refused(pattern, tmp_path):
    path = next((tmp_path / "Split-train").iterdir())
    path.with_name("another").write_bytes(path.read_bytes())
    with pytest.raises(PipelineError, match=r"/\*: 3 files, where contents.json tells of 2; have"):
        contents.files([pattern])
    path.with_name("another").unlink()
    path.unlink()
    with pytest.raises(PipelineError, match=r"/\*: 1 files, where contents.json tells of 2; have"):
        contents.files([pattern])


def test_an_artifact_that_does_not_tell_is_refused(pattern, tmp_path):
    (tmp_path / contents.FILE).write_text("{")
    with pytest.raises(PipelineError, match=r"contents.json is missing or damaged; have the comp"):
        contents.files([pattern])


def test_sums_of_pixels_are_exact_and_add_up():
    large = np.random.default_rng(1).integers(250, 256, (9, 100, 90, 3), np.uint8)
    whole = PixelSums.of(large)
    wide = large.astype(np.int64)
    assert whole.total == wide.sum((0, 1, 2)).tolist()
    assert whole.squares == (wide * wide).sum((0, 1, 2)).tolist()
    assert PixelSums.of(large[:4]) + PixelSums.of(large[4:]) == whole
    np.testing.assert_allclose(whole.mean, (large / 255.0).mean((0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(whole.variance, (large / 255.0).var((0, 1, 2)), rtol=1e-6)


def test_labels_are_counted_as_long_as_they_can_be_classes():
    one, other = SplitContents(), SplitContents()
    one.count_labels(np.array([3, -1, 3]))
    other.count_labels(np.arange(9_999))
    assert (one + other).labels == {-1: 1} | dict.fromkeys(range(9_999), 1) | {3: 3}
    other.count_labels(np.arange(20_000))
    assert (one + other).labels is None
    assert (one + other).num_classes == 20_000
