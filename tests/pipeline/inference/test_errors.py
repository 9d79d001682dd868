"""Errors of a model's graph in a line that a user can act on."""

import pytest
import tensorflow as tf

from pipeline.inference import errors


@tf.function
def refuse(value):
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(value < 3), ["must be below 3. Got:", value])]
    ):
        return tf.identity(value)


@tf.function
def decode(content):
    return tf.io.decode_png(content)


def test_a_check_of_ours():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        refuse(tf.constant([7, 8]))
    assert errors.message(caught.value) == "must be below 3. Got: 7 8"


def test_another_error_keeps_its_first_line():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode(tf.constant(b"garbage"))
    message = errors.message(caught.value)
    assert "Graph execution" not in message
    assert "Unknown image" in message or "PNG" in message
    assert "\n" not in message
