"""What a signature takes: names, types and shapes, checked before memory is spent on values.

Free of TensorFlow, since the processes that decode large JSON bodies use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.serving.errors import invalid

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output of a signature.

    Attributes:
        name: its key in requests and responses.
        dtype: of its array; `object` for byte strings.
        shape: sizes; None for the batch.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]

    @property
    def type_name(self) -> str:
        """As TensorFlow calls it."""
        return "string" if self.is_string else self.dtype.name

    @property
    def is_string(self) -> bool:
        return self.dtype == object

    @property
    def batched(self) -> bool:
        """Whether its first dimension is the batch."""
        return bool(self.shape) and self.shape[0] is None

    def check(self, shape: tuple[int, ...], max_rows: int) -> None:
        """Refuses a shape that the signature does not take, or more than `max_rows` rows.

        Raises:
            RequestError: INVALID_ARGUMENT, naming the input.
        """
        fits = len(shape) == len(self.shape) and all(
            expected in (None, size) for size, expected in zip(shape, self.shape, strict=True)
        )
        if not fits or any(size < 0 for size in shape):
            expected = ", ".join("N" if size is None else str(size) for size in self.shape)
            raise invalid(f"{self.name} must have the shape [{expected}]. Received: {list(shape)}")
        if self.batched and shape[0] > max_rows:
            raise invalid(
                f"{self.name} has {shape[0]} rows; this server takes at most {max_rows} in one "
                "request"
            )


Specs = Mapping[str, Spec]


def arrays(
    specs: Specs,
    values: Mapping[str, Any],
    convert: Callable[[Spec, Any, int], np.ndarray],
    max_rows: int,
) -> dict[str, np.ndarray]:
    """The inputs of a request as arrays.

    Args:
        specs: of the inputs.
        values: by name, as an API has them.
        convert: makes an array of one of them, or raises RequestError.
        max_rows: of one request.

    Raises:
        RequestError: INVALID_ARGUMENT, naming the input.
    """
    sent, expected = set(values), set(specs)
    if sent != expected:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)}. "
            f"Sent extra: {{{','.join(sorted(sent - expected))}}}. "
            f"Missing but required: {{{','.join(sorted(expected - sent))}}}."
        )
    return {name: convert(spec, values[name], max_rows) for name, spec in specs.items()}
