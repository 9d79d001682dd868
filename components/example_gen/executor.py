"""The work of ImageExampleGen: sorts files in parallel, counts, and judges the counts."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import features, per_file
from components.contents import Contents, SplitContents, merged
from components.durable_files import UNFINISHED
from components.errors import PipelineError, after
from components.example_gen import input_files, label_names, rejected_list, settings
from components.example_gen.audio_check import AudioCheck
from components.example_gen.check import Check
from components.example_gen.config import FeatureNames, Fields
from components.example_gen.image_check import ImageCheck
from components.example_gen.records import FileResult, InputFile, Split, sort_records
from components.example_gen.rejection import Rejection
from models.audio.config import AudioConfig

# Folders of the Examples artifact beside `Split-<name>`.
REJECTED = "rejected"
# Classes that a message names.
_CLASSES_NAMED = 5
# What is said to whoever runs the pipeline.
_LOGGER = logging.getLogger("vqvae.data")


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads TFRecords of tf.train.Example, keeps what is usable, reports the rest."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `Split-<name>/*.tfrecord` and `rejected/` below the Examples artifact.

        `rejected/summary.json` holds the counts, `rejected/records-*.jsonl` one line per record
        left out, a `Rejection`. The list is also kept outside of the artifact, which TFX removes
        when the run is stopped here. The artifact's custom properties `num_records` and
        `num_rejected` repeat the totals; `label_names` are those that lie beside the data.

        Raises:
            PipelineError: without input files, for files that are damaged or change meanwhile,
                above the tolerated share of unusable records, when no record has the label that
                the configuration names, or when a split comes out empty. The splits are removed
                then.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        input_config, output_config = example_gen_pb2.Input(), example_gen_pb2.Output()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], input_config
        )
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], output_config
        )
        input_base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        names = utils.generate_output_split_names(input_config, output_config)
        artifact.split_names = artifact_utils.encode_split_names(names)
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)

        own = settings.read(exec_properties)
        check = _check(own)
        found = input_files.find(input_base, input_config.splits)
        files = _input_files(found, output_config)
        try:
            results = self._sort(files, check, artifact, int(own["records_per_file"]))
            rejected = os.path.join(artifact.uri, REJECTED)
            listed = rejected_list.keep(rejected, own["rejected_path"])
            _raise_if_damaged(results)
            planned = exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME, found.fingerprint)
            now = input_files.find(input_base, input_config.splits).fingerprint
            if not planned == found.fingerprint == now:
                raise PipelineError(
                    f"ImageExampleGen: the files in {input_base} changed while they were read; "
                    "run it again once they are written"
                )
            summary = _summarise(results)
            with fileio.open(os.path.join(rejected, "summary.json"), "w") as file:
                json.dump(summary, file, indent=2)
            _raise_if_too_many(results, own["max_rejected_fraction"], input_base, listed)
            _raise_if_unlabelled(results, check.names, input_base)
            _raise_if_empty(results, names, input_base)
            _tell_lacking_classes(results, input_base)
            _contents(results, names).write(artifact.uri)
        except BaseException as failure:
            # Half of a data set must not look like a whole one; the report may stay.
            for name in (*(f"Split-{name}" for name in names), UNFINISHED):
                folder = os.path.join(artifact.uri, name)
                with after(failure, f"{folder} is left"):
                    _remove(folder)
            raise
        artifact.set_int_custom_property("num_records", summary["records"])
        artifact.set_int_custom_property("num_rejected", summary["rejected"])
        if told := label_names.label_names(input_base):
            artifact.set_string_custom_property(label_names.PROPERTY, told)

    def _sort(
        self,
        files: list[InputFile],
        check: Check,
        artifact: types.Artifact,
        records_per_file: int,
    ) -> list[FileResult]:
        scratch_uri = os.path.join(artifact.uri, UNFINISHED)
        _remove(scratch_uri)
        for folder in (REJECTED, UNFINISHED, *(f"Split-{split.name}" for split in _splits(files))):
            fileio.makedirs(os.path.join(artifact.uri, folder))
        sort = beam.Map(_sort_file, check, artifact.uri, records_per_file)
        told = per_file.lines(self._make_beam_pipeline, files, sort, scratch_uri)
        _remove(scratch_uri)
        return sorted(map(FileResult.from_json, told), key=lambda result: result.path)


def _check(own: dict[str, Any]) -> Check:
    """Of the kind of data that the settings tell."""
    names = FeatureNames(**own["features"])
    if not own["audio"]:
        return ImageCheck(names.of("image"))
    return AudioCheck(names.of("audio"), AudioConfig.model_validate_json(own["audio"]))


def _contents(results: list[FileResult], splits: Iterable[str]) -> Contents:
    """What the files of the splits hold; their labels are Transform's to count."""
    parts = {
        split: [SplitContents(files=result.files.get(split, {}), labels=None) for result in results]
        for split in splits
    }
    return Contents(splits={split: merged(held) for split, held in parts.items()})


def _sort_file(source: InputFile, check: Check, uri: str, records_per_file: int) -> str:
    return sort_records(
        source,
        check,
        split_uri=lambda name: os.path.join(uri, f"Split-{name}"),
        rejected_uri=os.path.join(uri, REJECTED),
        scratch_uri=os.path.join(uri, UNFINISHED),
        records_per_file=records_per_file,
    ).to_json()


def _input_files(
    found: input_files.InputFiles, output_config: example_gen_pb2.Output
) -> list[InputFile]:
    partition = output_config.split_config
    # By `image` is meant what is encoded in a record, whatever it is.
    if partition.partition_feature_name not in ("", features.IMAGE):
        raise PipelineError(
            "ImageExampleGen: output_config can partition by the whole record or by "
            f"`{features.IMAGE}`, not by {partition.partition_feature_name!r}"
        )
    hashed = tuple(Split(split.name, split.hash_buckets) for split in partition.splits)
    files: list[InputFile] = []
    for split in found.splits:
        splits = hashed or (Split(split.name),)
        for path in split.paths:
            files.append(InputFile(len(files), path, splits, partition.partition_feature_name))
    return files


def _splits(files: list[InputFile]) -> set[Split]:
    return {split for file in files for split in file.splits}


def _summarise(results: list[FileResult]) -> dict[str, Any]:
    records = sum(result.records for result in results)
    reasons = sum((result.rejected for result in results), Counter())
    return {
        "records": records,
        "rejected": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "splits": dict(sum((result.written for result in results), Counter())),
        "files": [
            {
                "file": result.path,
                "records": result.records,
                "rejected": result.rejected.total(),
                "reasons": dict(result.rejected.most_common()),
            }
            for result in results
        ],
    }


def _raise_if_damaged(results: list[FileResult]) -> None:
    damaged = [result for result in results if result.error]
    if damaged:
        first = damaged[0]
        others = f" ({len(damaged) - 1:,} more files are damaged)" if len(damaged) > 1 else ""
        raise PipelineError(
            f"ImageExampleGen: {first.path} is not a whole TFRecord file: {first.error}, after "
            f"{first.records:,} readable records{others}; write it again or remove it"
        )


def _raise_if_too_many(
    results: list[FileResult], limit: float, input_base: str, listed: str
) -> None:
    records = sum(result.records for result in results)
    reasons = sum((result.rejected for result in results), Counter())
    rejected = reasons.total()
    if rejected <= limit * records:
        return
    counts = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common())
    worst = max(results, key=lambda result: result.rejected.total())
    (reason, _), *_ = worst.rejected.most_common()
    raise PipelineError(
        f"ImageExampleGen: {rejected:,} of {records:,} records in {input_base} are unusable "
        f"({rejected / records:.2%}, at most {limit:.2%} allowed): {counts}; the first is "
        f"{_first(results)}; most in {worst.path}: {worst.rejected.total():,} of "
        f"{worst.records:,}, mainly {reason}; {listed}; repair the data or raise "
        "data.max_rejected_fraction"
    )


def _first(results: list[FileResult]) -> Rejection:
    """The first record that was rejected for the most frequent reason."""
    reasons = sum((result.rejected for result in results), Counter())
    ((reason, _),) = reasons.most_common(1)
    return next(result.first[reason] for result in results if reason in result.first)


def _raise_if_unlabelled(results: list[FileResult], names: Fields, input_base: str) -> None:
    """Labels that were named but are in no record are a mistake, not images without labels."""
    if names.label == features.LABEL or any(result.labelled for result in results):
        return
    there = next((result for result in results if result.features), None)
    if there is not None:
        raise PipelineError(
            f"ImageExampleGen: no record in {input_base} has a feature `{names.label}`, which "
            f"data.features.label names; there are {there.features} in {there.path}; name the "
            "label, or leave data.features.label out if there is none"
        )


def _raise_if_empty(results: list[FileResult], names: list[str], input_base: str) -> None:
    written = sum((result.written for result in results), Counter())
    empty = [name for name in names if not written[name]]
    if empty:
        records = sum(result.records for result in results)
        unusable = any(result.rejected for result in results)
        left_out = f"; left out was {_first(results)}" if unusable else ""
        raise PipelineError(
            f"ImageExampleGen: split {empty[0]!r} of {input_base} is empty: none of {records:,} "
            f"records ({written.total():,} usable) belongs to it{left_out}; give it some"
        )


def _tell_lacking_classes(results: list[FileResult], input_base: str) -> None:
    """Says which classes only one split has; the statistics know the lowest and the highest."""
    classes: dict[str, set[int]] = {}
    for result in results:
        for split, found in result.classes.items():
            classes.setdefault(split, set()).update(found)
    everywhere = set().union(*classes.values())
    for split, own in sorted(classes.items()):
        if own and (lacking := sorted(everywhere - own)):
            few = ", ".join(map(str, lacking[:_CLASSES_NAMED]))
            more = f" and {len(lacking) - _CLASSES_NAMED:,} more" * (len(lacking) > _CLASSES_NAMED)
            _LOGGER.warning(
                "%s has no record of class %s%s, which another split of %s has",
                split,
                few,
                more,
                input_base,
            )


def _remove(uri: str) -> None:
    if fileio.exists(uri):
        fileio.rmtree(uri)
