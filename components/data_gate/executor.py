"""Reads anomalies and label statistics of every split and raises on what must not be trained on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components import features
from components.errors import PipelineError

# Labels are class indices, and every class costs parameters in the prior.
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class SplitLabels:
    """What statistics tell about a split's labels."""

    examples: int
    labelled: int  # records that hold a label, NO_LABEL included
    smallest: int = features.NO_LABEL
    largest: int = features.NO_LABEL

    @property
    def any(self) -> bool:
        return self.largest > features.NO_LABEL


class Executor(base_executor.BaseExecutor):
    """Stops the run for anomalies, listed by name, and for labels that cannot be learned."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `data.json` {split: {examples, labelled, smallest, largest}} into the blessing.

        Raises:
            PipelineError: naming every anomaly with its split, or what is wrong with the labels.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])

        found = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            found += [f"{split}: {text}" for text in _describe(_read_anomalies(anomalies, split))]
        if found:
            raise PipelineError(
                f"DataGate: {len(found)} anomalies in the data: {'; '.join(found)}. Mend the "
                "data, or describe it in a curated schema (data.schema_path)"
            )
        labels = {
            split: labels_of(stats_artifact_utils.load_statistics(statistics, split).proto())
            for split in artifact_utils.decode_split_names(statistics.split_names)
        }
        check_labels(labels)
        with fileio.open(os.path.join(blessing.uri, "data.json"), "w") as file:
            json.dump({split: vars(found) for split, found in labels.items()}, file, indent=2)


def check_labels(labels: dict[str, SplitLabels]) -> None:
    """Raises PipelineError for labels that cannot be learned or compared across splits."""
    where = f"DataGate: feature `{features.LABEL}`"
    for split, found in labels.items():
        if found.smallest < features.NO_LABEL:
            raise PipelineError(
                f"{where}: {split} holds {found.smallest:,}; labels are class indices from 0, "
                f"and {features.NO_LABEL} means none"
            )
        if found.largest >= MAX_CLASSES:
            raise PipelineError(
                f"{where}: {split} holds {found.largest:,}; labels are class indices from 0 and "
                f"at most {MAX_CLASSES:,} classes are possible. Number the classes anew"
            )
    have = [split for split, found in labels.items() if found.any]
    lack = [split for split, found in labels.items() if not found.any]
    if have and lack:
        raise PipelineError(
            f"{where}: present in {', '.join(have)} but not in {', '.join(lack)}; give every "
            "split labels, or none"
        )
    train = labels.get("train")
    unseen = "a class that training never sees. Add such images to train or remove these"
    for split, found in labels.items():
        if train is not None and found.largest > train.largest:
            raise PipelineError(
                f"{where}: {split} reaches {found.largest:,} but train only {train.largest:,}: "
                f"{unseen}"
            )
        if train is not None and features.NO_LABEL < found.smallest < train.smallest:
            raise PipelineError(
                f"{where}: {split} begins at {found.smallest:,} but train only at "
                f"{train.smallest:,}: {unseen}"
            )


def labels_of(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> SplitLabels:
    """Count and range of the labels of one split."""
    if not statistics.datasets:
        return SplitLabels(examples=0, labelled=0)
    dataset = statistics.datasets[0]
    for feature in dataset.features:
        if features.LABEL in (feature.name, *feature.path.step[-1:]):
            numeric = feature.num_stats
            labelled = numeric.common_stats.num_non_missing
            if labelled:
                return SplitLabels(
                    dataset.num_examples, labelled, int(numeric.min), int(numeric.max)
                )
    return SplitLabels(examples=dataset.num_examples, labelled=0)


def _read_anomalies(artifact: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    path = os.path.join(
        artifact_utils.get_split_uri([artifact], split), example_validator.DEFAULT_FILE_NAME
    )
    anomalies = anomalies_pb2.Anomalies()
    with fileio.open(path, "rb") as file:
        anomalies.ParseFromString(file.read())
    return anomalies


def _describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One text per anomaly: the feature's name and TFDV's short description."""
    texts = []
    for name, info in sorted(anomalies.anomaly_info.items()):
        label = f"`{name}`" if name else "the data set"
        texts.append(f"{label}: {info.short_description} ({info.description.rstrip('. ')})")
    if anomalies.HasField("dataset_anomaly_info"):
        info = anomalies.dataset_anomaly_info
        texts.append(f"the data set: {info.short_description} ({info.description.rstrip('. ')})")
    return texts
