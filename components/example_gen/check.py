"""What ImageExampleGen asks about records, whatever kind of data they hold."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from components.example_gen.config import Fields

# In place of the bucket of a record that cannot be used.
UNUSABLE = -1


class Sorted(NamedTuple):
    """A batch of N records."""

    buckets: np.ndarray  # int64 [N], UNUSABLE for a record that cannot be used
    labels: np.ndarray  # int64 [N]
    has_label: np.ndarray  # bool [N]
    written: list[list[bytes]]  # N lists: the records to write of each


class Check(Protocol):
    """How records of one kind are checked.

    Attributes:
        names: of their features.
    """

    names: Fields

    def sort(self, records: tf.Tensor, num_buckets: int, by_payload: bool) -> Sorted:
        """Finds the place of records, string [N], of which some may be unusable.

        Args:
            records: serialized Examples.
            num_buckets: that they are hashed into.
            by_payload: what is hashed is the payload, and not the whole record.
        """

    def undecodable(self, payload: bytes) -> tuple[str, str] | None:
        """Why a payload cannot be used, in a few words, and what it has instead; None if it can."""
