"""ImageExampleGen: TFRecords of images or audio in, Examples that all decode out."""

from __future__ import annotations

from tfx.components.example_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2

from components.example_gen import layout, settings
from components.example_gen.config import FeatureNames
from components.example_gen.driver import Driver
from components.example_gen.executor import Executor
from models.audio.config import AudioConfig


class ImageExampleGen(component.FileBasedExampleGen):
    """Ingests TFRecords of tf.train.Example with an image, or a recording, and perhaps a label.

    Whatever these are called, they come out as `image` or `audio`, and `label`, the label as int64.
    A recording comes out as a record for each of its windows. Spans and versions are as TFX has
    them; the paths of the data are literal. Records without a usable image or recording are left
    out and reported in `rejected/` of the Examples artifact; too many of them stop the run.

    Component `outputs` contains:
     - `examples`: `standard_artifacts.Examples`, one split per input or output split.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        input_base: str,
        input_config: example_gen_pb2.Input | None = None,
        output_config: example_gen_pb2.Output | None = None,
        *,
        code_version: str,
        audio: AudioConfig | None = None,
        features: FeatureNames | None = None,
        max_rejected_fraction: float = 0.01,
        records_per_file: int = 10_000,
        fingerprint: str = "",
        rejected_path: str = "",
        range_config: range_config_pb2.RangeConfig | None = None,
    ) -> None:
        """Args:
        input_base: directory of the data.
        input_config: splits and their patterns below it (`input_files.find`); by default found
            by looking (`layout.input_config_for`).
        output_config: how to split one input split; by default 90/10 by the image's hash.
        code_version: of our sources; part of the cache key.
        audio: what becomes of recordings, where the records hold those; images by default.
        features: what image, audio and label are called; these names by default.
        max_rejected_fraction: share of the records, 0 to 1, that may be unusable.
        records_per_file: of the files that are written, at most.
        fingerprint: of the files that a run was planned with; others stop it. None by default.
        rejected_path: local file that lists what was left out, also when the run stops at it;
            empty: only the log does.
        range_config: which span to read; the latest by default.

        Raises:
            PipelineError: without `input_config`, when the directory holds no TFRecords.
        """
        if input_config is None:
            input_base, input_config, found, _ = layout.input_config_for(input_base)
            output_config = output_config or found
        if output_config is None and len(input_config.splits) == 1:
            output_config = layout.nine_to_one()
        super().__init__(
            input_base=input_base,
            input_config=input_config,
            output_config=output_config,
            custom_config=settings.pack(
                features=(features or FeatureNames()).model_dump(),
                audio="" if audio is None else audio.model_dump_json(),
                max_rejected_fraction=max_rejected_fraction,
                records_per_file=records_per_file,
                rejected_path=rejected_path,
                code_version=code_version,
                fingerprint=fingerprint,
            ),
            range_config=range_config,
        )
