"""What both run functions do around their training: settings, data, checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import keras
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components import contents, versions
from components.errors import PipelineError
from components.stored_images import Parse
from components.trainer.augment import Augment
from components.trainer.config import TrainerSettings
from components.trainer.loop import Computing, Places, fit
from components.trainer.objective import Objective
from components.trainer.source import Source
from components.versions import code_version
from models.device import full_float32, has_gpu

# Bytes at the end of a data file by which its contents are known.
_CHUNK = 2**20
# Folder beside the checkpoints with the logs of all trainings, which TensorBoard is pointed at.
KEPT_LOGS = "logs"

Settings = TypeVar("Settings", bound=TrainerSettings)


@dataclasses.dataclass(frozen=True)
class Data:
    """The two splits of a training."""

    train: Source
    held_out: Source


def read_settings(fn_args: FnArgs, kind: type[Settings]) -> Settings:
    """The settings that the pipeline put into `custom_config`."""
    return kind.model_validate_json(fn_args.custom_config["settings"])


def read_data(fn_args: FnArgs, parse: Parse, settings: TrainerSettings) -> Data:
    """Both splits, in memory where they fit."""
    cache_bytes = settings.cache_mib * 2**20
    return Data(
        Source(fn_args.train_files, parse, cache_bytes, settings.shuffle_mib * 2**20),
        Source(fn_args.eval_files, parse, cache_bytes),
    )


def make_reproducible(seed: int, deterministic: bool | Literal["auto"] = "auto") -> None:
    """A seed fixes the result on one machine.

    Args:
        seed: of Python, NumPy and TensorFlow.
        deterministic: whether every operation must give the same bits at each run; `auto`: on a
            CPU, where it costs nothing. On a GPU it makes sums slower that many threads add up,
            and without it results agree but for rounding.
    """
    full_float32()
    keras.utils.set_random_seed(seed)
    if deterministic is True or (deterministic == "auto" and not has_gpu()):
        tf.config.experimental.enable_op_determinism()


def train(
    objective: Objective,
    data: Data,
    strategy: tf.distribute.Strategy,
    settings: TrainerSettings,
    fn_args: FnArgs,
    inputs: Sequence[str] = (),
    augment: Augment | None = None,
    start: Callable[[], None] | None = None,
) -> None:
    """Fits `objective`; `inputs` are file patterns of what decides the result besides the data.

    `start` gives a training that does not go on from a checkpoint its first weights.
    """
    name = _named(objective.stage, settings, _described(fn_args.train_files, inputs))
    fit(
        objective,
        data.train,
        data.held_out,
        settings.stage,
        settings.seed,
        strategy,
        Places(
            checkpoints=os.path.join(settings.checkpoints, name),
            logs=fn_args.model_run_dir,
            kept_logs=os.path.join(settings.checkpoints, KEPT_LOGS, name),
        ),
        Computing(
            # Compilation costs a CPU more than it gives back on networks of this size.
            jit_compile=has_gpu() if settings.jit_compile == "auto" else settings.jit_compile,
            precision=settings.mixed_precision,
            steps_per_call=settings.steps_per_call,
        ),
        augment=augment,
        start=start,
    )


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives `target`, on one device and in float32, the weights of what was trained."""
    for theirs, own in zip(source.variables, target.variables, strict=True):
        own.assign(theirs.value)


# Settings that decide when a training ends, what it says and where it computes, but not what a
# step does to the weights.
_NOT_OF_A_STEP: dict[str, Any] = {
    "checkpoints": True,
    "code_version": True,
    "deterministic": True,
    "jit_compile": True,
    "recompute": True,
    "steps_per_call": True,
    "strategy": True,
    "stage": {
        *("steps", "evaluate_every", "checkpoint_every", "keep_checkpoints", "profile_steps"),
        *("patience", "max_skipped_steps", "min_code_usage"),
    },
}


def _named(stage: str, settings: TrainerSettings, inputs: Sequence[str]) -> str:
    """A name of all that decides what a step does: settings, data, inputs, the code.

    By it a rerun of an interrupted training finds its checkpoints, although TFX gives it another
    output directory, and so does one that is to take more steps; a training with any other data
    or network does not. Of the code, the modules of the step and of the network count, and the
    libraries that compute it. What is not found stays: with those of before, training goes on.
    """
    network = {"vqvae": "models.vqvae", "prior": "models.priors"}[stage]
    code = code_version("components.trainer.steps", "components.trainer.augment", network)
    libraries = versions.library_versions(versions.WEIGHTS)
    text = "\n".join([settings.model_dump_json(exclude=_NOT_OF_A_STEP), code, libraries, *inputs])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{stage}-{key}"


def _described(data: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Files of data and other inputs, with what changes when their contents do, wherever they lie.

    Checksums of data were made when it was written.

    Raises:
        PipelineError: the data are damaged, or there is no file of an input.
    """
    described = [
        f"{os.path.basename(path)}:{file.model_dump_json()}"
        for path, file in contents.files(data).items()
    ]
    for pattern in inputs:
        paths = sorted(tf.io.gfile.glob(pattern))
        if not paths:
            raise PipelineError(f"no files match {pattern}; have what writes them run again")
        described += [f"{os.path.basename(path)}:{_digest(path)}" for path in paths]
    return described


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
