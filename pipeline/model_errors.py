"""What a model says of input that it cannot use."""

from __future__ import annotations

import itertools
import re

import tensorflow as tf

_ASSERTION = "assertion failed: "


def message(error: tf.errors.OpError) -> str:
    """TensorFlow's message in one line, without the graph's node names and stack traces."""
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(_ASSERTION):
            # Each of its parts is in brackets.
            return line.removeprefix(_ASSERTION).strip("[]").replace("] [", " ")
    said = list(itertools.takewhile(lambda line: not line.startswith("[["), lines)) or lines
    if not said:
        return type(error).__name__
    # In front of it may be where the node was defined, line by line.
    line = said[-1] if said[0].startswith("Graph execution error") else said[0]
    return re.sub(r" \[Op:.*\]$", "", line)
