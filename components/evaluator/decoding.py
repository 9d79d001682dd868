"""The signatures of a combined SavedModel, and what they make of codes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tfx.dsl.io import fileio

from components import features
from models.exported import takes_labels


class Models(dict[str, Any]):
    """Combined SavedModels by name, which all threads of a process share."""


def load(paths: Mapping[str, str]) -> Models:
    """Loads models, by name."""
    return Models({name: tf.saved_model.load(path) for name, path in paths.items()})


def signatures_of(saved_model: str) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    """What a SavedModel takes and gives, by the names of its signatures; it is not loaded."""
    with fileio.open(os.path.join(saved_model, "saved_model.pb"), "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    return saved.meta_graphs[0].signature_def


def has_one_a_moment(saved_model: str) -> bool:
    """Whether a row of pixels has one code."""
    codes = signatures_of(saved_model)["decode"].inputs["codes"]
    return math.prod(tf.TensorShape(codes.tensor_shape).as_list()[2:]) == 1


def decoded(model: Any, codes: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of `decode`.

    Args:
        model: a combined SavedModel.
        codes: integers `[N, ...]`, of as many codes as it makes of an image.
        labels: that it knows, or NO_LABEL; int64 `[N]`. Only a conditional decoder looks at them.
    """
    decode = model.signatures["decode"]
    given = {"codes": tf.reshape(tf.cast(codes, tf.int32), [len(codes), *code_shape(model)])}
    if takes_labels(decode):
        given["labels"] = tf.constant(labels, tf.int32)
    return {name: each.numpy() for name, each in decode(**given).items()}


def code_shape(model: Any) -> tuple[int, ...]:
    """Rows, columns and, with several of them, codes of a position."""
    return tuple(model.signatures["decode"].structured_input_signature[1]["codes"].shape[1:])


def known_labels(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Labels, and NO_LABEL for those that the model's training never saw."""
    classes = np.max(outputs.get("num_classes", 0))
    return np.where(labels < classes, labels, features.NO_LABEL)
