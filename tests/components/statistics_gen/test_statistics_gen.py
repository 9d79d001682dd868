"""Statistics say what TFX's own component says, but that images are not compared."""

import os

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import executor as tfx_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils, standard_artifacts

from components.errors import PipelineError
from components.record_files import Writer
from components.statistics_gen.executor import Executor
from tests.fixtures.examples import tell

LABELS = np.arange(700) * 7 % 23
LABELS[LABELS > 9] = 3


@pytest.fixture(name="examples")
def fixture_examples(tmp_path):
    """Two splits of encoded images, of which each file is longer than a batch."""
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    for split, counts in {"train": (300, 400), "eval": (50,)}.items():
        folder = artifact_utils.get_split_uri([examples], split)
        os.makedirs(folder)
        for number, count in enumerate(counts):
            images = np.array([b"%d" % i * (i % 5 + 1) for i in range(count)], object)
            with Writer(f"{folder}/{number}.tfrecord", str(tmp_path)) as writer:
                writer.write({"image": images, "label": LABELS[:count]})
    tell(tmp_path / "examples")
    return examples


def compute(executor, examples, uri):
    """Split -> feature -> its statistics, and the number of examples."""
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(uri)
    executor.Do({"examples": [examples]}, {"statistics": [statistics]}, {})
    found = {}
    for split in artifact_utils.decode_split_names(statistics.split_names):
        proto = stats_artifact_utils.load_statistics(statistics, split).proto()
        (dataset,) = proto.datasets
        found[split] = dataset
    return found


def features_of(dataset):
    return {feature.path.step[0]: feature for feature in dataset.features}


def test_they_are_those_of_tfx(examples, tmp_path):
    ours = compute(Executor(), examples, tmp_path / "ours")
    theirs = compute(tfx_executor.Executor(), examples, tmp_path / "theirs")
    assert set(ours) == set(theirs) == {"train", "eval"}
    for split, dataset in ours.items():
        assert dataset.num_examples == theirs[split].num_examples
        own, reference = features_of(dataset), features_of(theirs[split])
        assert set(own) == set(reference) == {"image", "label"}
        numbers, expected = own["label"].num_stats, reference["label"].num_stats
        for field in ("mean", "std_dev", "num_zeros", "min", "max", "median"):
            assert getattr(numbers, field) == pytest.approx(getattr(expected, field), rel=1e-9)
        common = numbers.common_stats.num_non_missing
        assert common == expected.common_stats.num_non_missing == dataset.num_examples


def test_images_are_counted_and_measured_but_not_compared(examples, tmp_path):
    train = features_of(compute(Executor(), examples, tmp_path / "ours")["train"])
    image = train["image"]
    assert image.type == statistics_pb2.FeatureNameStatistics.BYTES
    assert image.bytes_stats.unique == 0
    assert image.bytes_stats.max_num_bytes == 15  # of b"399" five times
    assert image.bytes_stats.common_stats.num_non_missing == 700


def test_a_damaged_file_stops_it_with_its_name(examples, tmp_path):
    path = tmp_path / "examples/Split-train/1.tfrecord"
    damaged = bytearray(path.read_bytes())
    damaged[-8] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(Exception, match=r"1\.tfrecord is damaged; run ImageExampleGen again"):
        compute(Executor(), examples, tmp_path / "ours")
    path.write_bytes(damaged[:-3])
    with pytest.raises(PipelineError, match=r"1\.tfrecord is damaged: it has"):
        compute(Executor(), examples, tmp_path / "again")
