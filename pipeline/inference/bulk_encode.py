"""Image TFRecords to files of codes, by Beam."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils import shared
from pydantic import ValidationError

from components import features
from components.errors import PipelineError
from components.example_gen import file_names, record_file
from components.example_gen.config import FeatureNames, Fields
from components.example_gen.halving import by_halves
from components.example_gen.image_check import ImageCheck
from components.example_gen.parsing import REFUSALS, label_type, parse, reason_unusable, source_of
from components.example_gen.rejection import Rejection
from components.release_store.release import Release
from models import images as image_ops
from pipeline.inference import bulk_job, codes_file, errors
from pipeline.inference.bulk_job import Job, Result, Summary
from pipeline.inference.codes_file import Codes
from pipeline.inference.disk import load
from pipeline.progress import Progress

IMAGES_PER_FILE = 10_000
_BATCH = 64  # records in memory at a time, as many again are read ahead

# Of a batch; in a codes file they are the arrays of the same names.
_COLUMNS = ("codes", "labels", "sizes", "records")


def encode_records(
    release: Release,
    data: Path,
    out: Path,
    beam_args: Sequence[str],
    skip_unusable: bool,
    progress: Progress,
    names: FeatureNames | None = None,
) -> Summary:
    """Encodes every image of a folder of TFRecords.

    Args:
        release: whose encoder is used.
        data: folder of TFRecords, in it or below it, with images and perhaps labels.
        out: new or empty folder; gets the same subfolders, and in them one or more files of codes
            for each file of images, of at most `IMAGES_PER_FILE`.
        beam_args: of Beam's runner.
        skip_unusable: leave out the records that cannot be used and list them in `skipped.jsonl`,
            instead of stopping at the first.
        progress: told of every file.
        names: of the features; those that are not set are what the release was trained with.

    Raises:
        PipelineError: naming file, record and reason; then nothing is left in `out`.
    """
    names = _names(release, names or FeatureNames())
    kinds = (".tfrecord", ".tfrecords", ".tfrec", ".record")
    suffixes = [kind + gzip for kind in kinds for gzip in (".gz", "")]
    jobs = bulk_job.find_jobs(
        data, out, file_names.is_tfrecord, (*suffixes, ".gz"), "TFRecords (*.tfrecord[.gz])"
    )
    return bulk_job.run(jobs, EncodeFile(release, names, skip_unusable), out, beam_args, progress)


class EncodeFile(beam.DoFn):
    """Encodes one file of records."""

    def __init__(self, release: Release, names: FeatureNames, skip_unusable: bool):
        self._release = release
        self._check = ImageCheck(names.of("image"))
        self._skip_unusable = skip_unusable
        self._shared = shared.Shared()

    def setup(self) -> None:
        # One model per process, however many threads work in it.
        self._model = self._shared.acquire(lambda: load(self._release, "encode"))
        self._signature = self._model.signatures["serving_default"]

    def process(self, job: Job) -> None:
        with bulk_job.reported(job) as result:
            os.makedirs(job.folder, exist_ok=True)
            parts: list[dict[str, np.ndarray]] = []
            rows = start = 0
            for records in _read(job):
                batch = self._encode(job, records, start, result)
                start += len(records)
                if batch is None:
                    continue
                if rows + len(batch["codes"]) > IMAGES_PER_FILE:
                    self._write(job, parts, result)
                    parts, rows = [], 0
                parts.append(batch)
                rows += len(batch["codes"])
            self._write(job, parts, result)

    def _encode(
        self, job: Job, records: tf.Tensor, start: int, result: Result
    ) -> dict[str, np.ndarray] | None:
        """Columns of the records that can be used; the first of all is at `start` in the file."""
        parts = []
        for rows, made, error in by_halves(records, self._columns, REFUSALS):
            numbers = np.arange(start + rows.start, start + rows.stop)
            usable, columns = made if made else (np.array([False]), {})
            for number in numbers[~usable].tolist():
                self._leave_out(job, records[number - start].numpy(), number, error, result)
            if usable.any():
                parts.append({**columns, "records": numbers[usable]})
        return _joined(parts) if parts else None

    def _columns(self, records: tf.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Which records can be used, bool [N], and of those all columns but `records`."""
        # Those of one file have labels of one type, as a rule.
        names = self._check.names
        parsed = _parser(names, label_type(records[0].numpy(), names))(records)
        columns = {name: parsed[name].numpy() for name in ("labels", "sizes")}
        if len(columns["labels"]):
            columns["codes"] = self._signature(images=parsed["images"])["codes"].numpy()
            columns["codes"] = codes_file.narrowest(columns["codes"])
        return parsed["usable"].numpy(), columns

    def _leave_out(
        self, job: Job, record: bytes, number: int, error: Exception | None, result: Result
    ) -> None:
        reason, detail = reason_unusable(record, self._check.names, self._check.undecodable)
        if reason == "cannot be parsed" and isinstance(error, tf.errors.OpError):
            reason = errors.message(error)
        rejection = Rejection(job.name, number, reason, detail, source_of(record))
        if not self._skip_unusable:
            origin = rejection.origin and f"{rejection.origin},"
            raise PipelineError(
                f"{job.source}: record {number}{origin} cannot be used: {rejection.why}; repair "
                "the file, or leave such records out with --skip-unusable"
            ) from error
        result.skipped.append(asdict(rejection))

    def _write(self, job: Job, parts: list[dict[str, np.ndarray]], result: Result) -> None:
        if not parts:
            return
        columns = _joined(parts)
        if (columns["labels"] == features.NO_LABEL).all():
            del columns["labels"]
        count = len(columns["codes"])
        numbers = np.char.zfill(columns["records"].astype(np.str_), 7)
        codes = Codes(
            names=np.char.add(f"{job.stem}-", numbers),
            release=self._release.version,
            codebook_sha256=self._release.manifest["codebook_sha256"],
            **columns,
        )
        attempt = job.attempt()
        codes_file.write(attempt, codes)
        bulk_job.finish(job, attempt, f"{job.stem}-{len(result.files):05d}.npz", result)
        result.images += count


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}


@functools.cache
def _parser(names: Fields, label_type: tf.DType) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function of Examples, string [N], of which M can be used as far as `parse` tells.

    It gives images string [M], labels int64 [M] (-1 for none), sizes int32 [M, 2], and usable
    bool [N].
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def parser(records: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse(records, names, label_type)
        encoded = tf.boolean_mask(parsed.payloads, parsed.usable)
        return {
            "images": encoded,
            "labels": tf.boolean_mask(parsed.labels, parsed.usable),
            "sizes": image_ops.upright_sizes(encoded),
            "usable": parsed.usable,
        }

    return parser


def _read(job: Job) -> Iterator[tf.Tensor]:
    """Batches of a file's records, string [<= _BATCH]."""
    done = 0
    try:
        for batch in record_file.batches(job.source, _BATCH):
            yield batch
            done += len(batch)
    except record_file.DamagedFile as error:
        raise PipelineError(
            f"{job.source}: is not a whole TFRecord file: {error}, after {done:,} readable "
            "records or a few more; write it again or remove it"
        ) from error


def _names(release: Release, given: FeatureNames) -> FeatureNames:
    """What is given, and otherwise what the release was trained with."""
    trained = release.manifest.get("config", {}).get("data", {}).get("features", {})
    try:
        return FeatureNames(**{**trained, **given.model_dump(exclude_unset=True)})
    except ValidationError as error:
        raise PipelineError(
            f"data.features: release {release.version} was trained with {trained}, which does not "
            f"go with {given.model_dump(exclude_unset=True)}; give both image and label"
        ) from error
