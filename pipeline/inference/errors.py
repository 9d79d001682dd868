"""What a model says of input that it cannot use, and a server of what it did not do."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from components.errors import PipelineError

if TYPE_CHECKING:
    import grpc
    import tensorflow as tf

_ASSERTION = "assertion failed: "


class InvalidInput(PipelineError):
    """A model cannot use what it was given; the message is the model's, in one line.

    Attributes:
        index: which element of a stream it was, where that is known.
    """

    def __init__(self, text: str, index: int | None = None):
        super().__init__(text)
        self.index = index


class ServerError(PipelineError):
    """A server did not do what was asked; the message is one line.

    Attributes:
        code: gRPC's status code.
    """

    def __init__(self, text: str, code: grpc.StatusCode):
        super().__init__(text)
        self.code = code


def message(error: tf.errors.OpError | UnicodeDecodeError) -> str:
    """TensorFlow's message in one line, without the graph's node names and stack traces.

    Args:
        error: one of TensorFlow's; or what Python makes of one that quotes input, such as a part
            of a WAV file, and of which that is no text.
    """
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode(errors="backslashreplace")
        said = first_line(re.sub(r"\{\{.*?\}\} ?", "", text))
    else:
        said = first_line(error.message)
    return said or type(error).__name__


def first_line(text: str) -> str:
    """The line of a message of TensorFlow's that says what is wrong; empty for an empty one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(_ASSERTION):
            # Each of its parts is in brackets.
            return line.removeprefix(_ASSERTION).strip("[]").replace("] [", " ")
    said = list(itertools.takewhile(lambda line: not line.startswith("[["), lines)) or lines
    if not said:
        return ""
    # In front of it may be where the node was defined, line by line.
    line = said[-1] if said[0].startswith("Graph execution error") else said[0]
    return re.sub(r" \[Op:.*\]$", "", line)
