"""The few members of a batch at which a computation fails, and what it makes of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, Self, TypeVar


class Sliceable(Protocol):
    """What has a length and slices of its own kind: a list, or a tensor `[N, ...]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Self: ...


Batch = TypeVar("Batch", bound=Sliceable)
Made = TypeVar("Made")


class Part(NamedTuple, Generic[Made]):
    """Neighbours in a batch.

    Attributes:
        rows: their places in it.
        made: of them; None where they are a single one at which the computation fails.
        error: why it does.
    """

    rows: slice
    made: Made | None
    error: Exception | None


def by_halves(
    batch: Batch,
    compute: Callable[[Batch], Made],
    refusals: type[Exception] | tuple[type[Exception], ...],
) -> Iterator[Part[Made]]:
    """Computes a batch, and the halves of what fails, down to single members.

    Graph code cannot catch an error. Halving finds the few members that cause one, and leaves the
    many others in batches.

    Args:
        batch: the members.
        compute: of a batch.
        refusals: what it raises for members that it cannot use.

    Yields:
        the parts in the order of the batch; a later one is computed when it is asked for.
    """
    waiting = [slice(0, len(batch))]
    while waiting:
        rows = waiting.pop()
        count = rows.stop - rows.start
        try:
            made = compute(batch if count == len(batch) else batch[rows])
        except refusals as error:
            if count > 1:
                middle = rows.start + count // 2
                waiting += [slice(middle, rows.stop), slice(rows.start, middle)]
            else:
                yield Part(rows, None, error)
        else:
            yield Part(rows, made, None)
