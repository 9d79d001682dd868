"""DataGate on real TFDV statistics: what passes, and what each refusal says."""

import json
import os
import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts
from tfx.utils import writer_utils

from components.data_gate.executor import Executor
from components.errors import PipelineError


def statistics_of(labels, count=20, **more):
    """Statistics of `count` records with an image each and the labels given, None for none."""
    columns = {"image": pa.array([[b"\x89PNG%d" % i] for i in range(count)])}
    if labels is not None:
        values = [None if label is None else [label] for label in labels]
        columns["label"] = pa.array(values, pa.list_(pa.int64()))
    columns |= {name: pa.array(values) for name, values in more.items()}
    batch = pa.RecordBatch.from_pydict(columns)
    return generate_statistics_in_memory(batch)


def gate(root, splits, schema=None):
    """Validates the splits as ExampleValidator does and runs the gate; returns its report."""
    statistics = standard_artifacts.ExampleStatistics()
    anomalies = standard_artifacts.ExampleAnomalies()
    blessing = simple_artifacts.File()
    for name, artifact in (("s", statistics), ("a", anomalies), ("b", blessing)):
        artifact.uri = str(root / name)
        os.makedirs(artifact.uri)
    for artifact in (statistics, anomalies):
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
    if schema is None:
        for found in splits.values():
            schema = tfdv.update_schema(schema, found) if schema else tfdv.infer_schema(found)
    for split, found in splits.items():
        for artifact, file, proto in (
            (statistics, "FeatureStats.pb", found),
            (anomalies, "SchemaDiff.pb", tfdv.validate_statistics(found, schema)),
        ):
            folder = artifact_utils.get_split_uri([artifact], split)
            os.makedirs(folder)
            if isinstance(proto, anomalies_pb2.Anomalies):
                writer_utils.write_anomalies(os.path.join(folder, file), proto)
            else:
                with open(os.path.join(folder, file), "wb") as stream:
                    stream.write(proto.SerializeToString())
    Executor().Do(
        {"anomalies": [anomalies], "statistics": [statistics]}, {"blessing": [blessing]}, {}
    )
    return json.loads((root / "b" / "data.json").read_text())


TEN = [i % 10 for i in range(20)]


def test_sound_data_passes(tmp_path):
    report = gate(tmp_path, {"train": statistics_of(TEN), "eval": statistics_of(TEN[:20])})
    train = {"examples": 20, "labelled": 20, "smallest": 0, "largest": 9}
    assert report == {"train": train, "eval": train}


@pytest.mark.parametrize("labels", [None, [-1] * 20, [None, -1, 3, 4] * 5])
def test_labels_may_be_missing_altogether_or_here_and_there(tmp_path, labels):
    gate(tmp_path, {"train": statistics_of(labels), "eval": statistics_of(labels)})


def test_every_anomaly_is_listed_by_name(tmp_path):
    schema = tfdv.infer_schema(statistics_of(TEN))
    tfdv.get_feature(schema, "label").int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=8))
    strange = statistics_of(None, angle=[[0.5]] * 20)
    with pytest.raises(PipelineError) as error:
        gate(tmp_path, {"train": statistics_of(TEN), "eval": strange}, schema)
    text = str(error.value)
    assert text.startswith("DataGate: 3 anomalies in the data: train: `label`: ")
    assert "eval: `angle`: New column" in text
    assert "eval: `label`: Column dropped" in text
    assert "curated schema (data.schema_path)" in text
    assert "\n" not in text
    assert not (tmp_path / "b" / "data.json").exists()


@pytest.mark.parametrize(
    ("train", "evaluation", "message"),
    [
        (TEN, None, "`label`: present in train but not in eval; give every split labels, or none"),
        ([-1] * 20, TEN, "`label`: present in eval but not in train"),
        ([-7, *TEN[1:]], TEN, "`label`: train holds -7; labels are class indices from 0, and -1"),
        ([10**9, *TEN[1:]], TEN, "`label`: train holds 1,000,000,000; .* at most 100,000 classes"),
        (TEN, [12, *TEN[1:]], "`label`: eval reaches 12 but train only 9: a class that training"),
        ([5] * 20, [2] + [5] * 19, "`label`: eval begins at 2 but train only at 5: a class that"),
    ],
)
def test_labels_that_cannot_be_learned(tmp_path, train, evaluation, message):
    with pytest.raises(PipelineError, match=f"^DataGate: feature {message}"):
        gate(tmp_path, {"train": statistics_of(train), "eval": statistics_of(evaluation)})
    assert not re.search(r"\n", message)


def test_the_largest_label_is_read_exactly(tmp_path):
    labels = np.arange(20) + 99_980
    report = gate(tmp_path, {"train": statistics_of(labels), "eval": statistics_of(labels)})
    assert report["train"]["largest"] == 99_999
