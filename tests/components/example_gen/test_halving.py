"""A batch of which some members cannot be used."""

from __future__ import annotations

import pytest

from components.example_gen.halving import by_halves


def total(numbers: list[int]) -> int:
    """What is computed here; below zero nothing is."""
    if min(numbers) < 0:
        raise ValueError(f"{min(numbers)} is below zero")
    return sum(numbers)


@pytest.mark.parametrize("refused", [[], [0], [6], [2, 3], [0, 1, 2, 3, 4, 5, 6]])
def test_what_can_be_used_is_computed_and_what_cannot_is_named(refused):
    batch = [-n - 1 if n in refused else n for n in range(7)]
    parts = list(by_halves(batch, total, ValueError))
    places = [place for part in parts for place in range(part.rows.start, part.rows.stop)]
    assert places == list(range(7))  # each once, in order
    for rows, made, error in parts:
        if error is None:
            assert made == sum(batch[rows])
        else:
            assert made is None
            assert str(error) == f"{batch[rows.start]} is below zero"
    named = [part.rows for part in parts if part.error]
    assert named == [slice(place, place + 1) for place in refused]


def test_a_batch_that_can_be_used_is_computed_once():
    calls = []
    list(by_halves([1, 2, 3], calls.append, ValueError))
    assert calls == [[1, 2, 3]]


def test_nothing_is_computed_behind_the_part_that_was_asked_for():
    calls = []

    def noted(numbers: list[int]) -> int:
        calls.append(list(numbers))
        return total(numbers)

    first = next(part for part in by_halves([-1, 2, 3, 4], noted, ValueError))
    assert (first.rows, str(first.error)) == (slice(0, 1), "-1 is below zero")
    assert calls == [[-1, 2, 3, 4], [-1, 2], [-1]]


def test_other_errors_are_passed_on():
    with pytest.raises(ZeroDivisionError):
        list(by_halves([1, 0], lambda numbers: [1 / n for n in numbers], ValueError))
