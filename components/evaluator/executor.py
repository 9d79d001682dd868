"""Measures the candidate with TFMA, beside the last release where there is one, and judges it."""

from __future__ import annotations

import json
import os
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components import baseline, contents, per_file
from components.evaluator import alignments, confusion, feature_model, results
from components.evaluator.besides import besides_of
from components.evaluator.decoding import has_one_a_moment, signatures_of
from components.evaluator.eval_config import SIGNATURE, eval_config
from components.evaluator.extractors import HEARD, HeldOut, extractors
from components.evaluator.gate import PHONES, GateConfig
from components.evaluator.phones import learned
from components.kinds import read_kind

# Metrics that need an output of the signature `evaluate` that it had not from the beginning.
_ADDED = {"ssim": "ssim", "fid": "num_classes"}


class Executor(base_beam_executor.BaseBeamExecutor):
    """What TFX's Evaluator does, with batches that are bounded and always the same.

    TFX's reads through one worker, in batches whose size follows the machine's speed.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `evaluation` and `blessing`.

        A baseline artifact that holds no release is left out: thresholds on change then do not
        apply, which the log, `evaluation` and the custom properties `baseline_version` (0) and
        `baseline_reason` of both outputs say.

        Raises:
            PipelineError: held-out images are damaged or not of the model's size, or the gate
                names a metric that these data do not have.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        version, reason = _baseline(input_dict.get("baseline_model", []))
        if not version:
            logging.warning("Thresholds on change are not checked: %s.", reason)
        kind = read_kind(exec_properties["kind"])
        image, size = kind.shape, exec_properties["batch_size"]
        num_codes, codebooks = exec_properties["num_codes"], exec_properties["codebooks"]
        gate = GateConfig.model_validate_json(exec_properties["gate"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        used = {False: artifact_utils.get_single_instance(input_dict["model"])}
        besides = besides_of(examples, kind, path_utils.serving_model_path(used[False].uri), gate)
        names = gate.measured(image, codebooks, besides.names)
        if gate.features is not None:
            feature_model.check(gate.features, image)
        incomparable: dict[str, str] = {}
        if version:
            used[True] = artifact_utils.get_single_instance(input_dict["baseline_model"])
            incomparable = _unknown_to(
                path_utils.serving_model_path(used[True].uri), names, version
            )
            for name, why in incomparable.items():
                logging.warning("%s is not compared: %s.", name, why)
        config = tfma.utils.update_eval_config_with_defaults(
            eval_config(gate, num_codes, image, size, codebooks, incomparable, besides.names),
            has_baseline=bool(version),
            rubber_stamp=True,  # without a release to compare with, only bounds count
        )
        tfma.utils.verify_eval_config(config)
        models = [
            tfma.default_eval_shared_model(
                eval_saved_model_path=path_utils.serving_model_path(used[spec.is_baseline].uri),
                model_name=spec.name,
                eval_config=config,
            )
            for spec in config.model_specs
        ]
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        pixels = contents.read(examples.uri).pixels
        shared = models[0] if len(models) == 1 else models
        phones = None
        if gate.phones is not None and besides.sound is not None:
            phones = learned(
                self._make_beam_pipeline,
                examples,
                besides.sound,
                {
                    model.model_name: model.model_path
                    for model in models
                    if has_one_a_moment(model.model_path)
                },
                alignments.read(gate.phones),
                size,
                evaluation.uri,
            )
        evaluators = tfma.default_evaluators(eval_shared_model=shared, eval_config=config)
        writers = tfma.default_writers(evaluation.uri, shared, config)
        if besides.judge is not None:
            evaluators.append(confusion.evaluator(HEARD, config.model_specs[0].name))
            writers.append(confusion.writer(evaluation.uri))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(_files(examples, exec_properties["example_splits"]))
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.ParDo(HeldOut(size, image, pixels))
                | tfma.ExtractEvaluateAndWriteResults(
                    eval_shared_model=shared,
                    eval_config=config,
                    extractors=extractors(models, config, image, gate.features, besides, phones),
                    evaluators=evaluators,
                    writers=writers,
                )
            )
        if besides.judge is not None:
            confusion.collect(evaluation.uri)
        _bless(evaluation, blessing, used)
        for artifact in (evaluation, blessing):
            artifact.set_int_custom_property("baseline_version", version)
            artifact.set_string_custom_property("baseline_reason", reason)
        results.record_gate(evaluation.uri, gate, names, version, reason, incomparable)


def _files(examples: types.Artifact, splits: str) -> list[str]:
    """The files of the splits, a JSON list, that are measured."""
    return [file for split in json.loads(splits) for file in per_file.files_of(examples, split)]


def _bless(
    evaluation: types.Artifact, blessing: types.Artifact, used: dict[bool, types.Artifact]
) -> None:
    """Leaves what TFX's Evaluator leaves of TFMA's verdict, for whoever knows that one."""
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, used[False].uri
    )
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, used[False].id
    )
    if True in used:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, used[True].uri
        )
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, used[True].id
        )
    ok = tfma.load_validation_result(evaluation.uri).validation_ok
    name = constants.BLESSED_FILE_NAME if ok else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, name), "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if ok else constants.NOT_BLESSED_VALUE,
    )


def _unknown_to(saved_model: str, names: list[str], version: int) -> dict[str, str]:
    """Of the metrics those that the last release cannot be measured by, and why."""
    signatures = signatures_of(saved_model)
    outputs = signatures[SIGNATURE].outputs
    found = {
        name: results.UNKNOWN % version
        for name in names
        if name in _ADDED and _ADDED[name] not in outputs
    }
    converted = [name for name in names if name.startswith("conversion_")]
    if converted and "labels" not in signatures["decode"].inputs:
        found |= dict.fromkeys(converted, f"the decoder of release {version} is not told speakers")
    if set(PHONES) & set(names) and not has_one_a_moment(saved_model):
        found |= dict.fromkeys(PHONES, f"release {version} has several codes a moment")
    return found


def _baseline(artifacts: list[types.Artifact]) -> tuple[int, str]:
    """The version to compare with and, where that is 0 for none, the reason."""
    if not artifacts:
        return 0, "the pipeline has no baseline"
    info = baseline.read(artifact_utils.get_single_uri(artifacts))
    return info.version, info.reason
