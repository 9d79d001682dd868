"""TFX's own Transform over images, with the same graph, and analyzers for mean and variance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.components.transform import executor
from tfx.types import standard_artifacts

from components.kinds import ImageKind, read_kind
from components.transform import preprocessing
from models import images
from models.config import ImageShape


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Ours, and on each record what the training split is on average."""
    outputs = preprocessing.preprocessing_fn(inputs, custom_config)
    shape = read_kind(custom_config["kind"]).shape
    pixels = images.unpack_pixels(outputs["image"], shape)
    channels = shape[2]

    def sums(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wide = tf.cast(image, tf.int64)
        return tf.reduce_sum(wide, axis=[0, 1]), tf.reduce_sum(wide * wide, axis=[0, 1])

    spec = tf.TensorSpec([channels], tf.int64)
    found = tf.map_fn(sums, pixels, fn_output_signature=(spec, spec))
    everything = tft.sum(tf.concat(found, axis=1), reduce_instance_dims=False)
    count = tf.shape(pixels)[0]
    return {**outputs, "sums": tf.tile(everything[tf.newaxis], [count, 1])}


def run(inputs: dict[str, list[types.Artifact]], shape: tuple[int, int, int], folder: Path) -> None:
    """Transforms the `examples` by their `schema` into a folder."""
    context = executor.Executor.Context(
        beam_pipeline_args=[], tmp_dir=str(folder / "tmp"), unique_id="tfx"
    )
    outputs = {
        "transform_graph": [standard_artifacts.TransformGraph()],
        "transformed_examples": [standard_artifacts.Examples()],
    }
    for name, (artifact,) in outputs.items():
        artifact.uri = str(folder / name)
    height, width, channels = shape
    kind = ImageKind(image=ImageShape(height=height, width=width, channels=channels))
    executor.Executor(context).Do(
        inputs,
        outputs,
        {
            "preprocessing_fn": f"{__name__}.preprocessing_fn",
            "custom_config": json.dumps({"kind": kind.model_dump_json()}),
            "disable_statistics": 1,
            "force_tf_compat_v1": 0,
        },
    )
