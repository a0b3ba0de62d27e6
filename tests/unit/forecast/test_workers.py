"""Local workers: order, errors, and no more taken than is needed."""

from __future__ import annotations

import pytest

from evenkeel.forecast.workers import InTurn, Threads, Workers


def tripled(number, report):
    report(number)
    if number == 99:
        raise ValueError("99")
    return 3 * number


@pytest.mark.parametrize("workers", [InTurn(), Threads(3)])
def test_answers_come_in_order(workers: Workers) -> None:
    told: list[int] = []
    assert list(workers.map(tripled, iter(range(50)), told.append)) == [3 * i for i in range(50)]
    assert sorted(told) == list(range(50))
    assert list(workers.map(tripled, [])) == []


@pytest.mark.parametrize("workers", [InTurn(), Threads(3)])
def test_an_error_comes_where_it_happened(workers: Workers) -> None:
    answers = workers.map(tripled, [1, 99, 2])
    assert next(answers) == 3
    with pytest.raises(ValueError, match="99"):
        next(answers)


@pytest.mark.parametrize("workers", [InTurn(), Threads(3)])
def test_items_are_taken_as_they_are_needed(workers: Workers) -> None:
    taken: list[int] = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    answers = workers.map(tripled, items())
    next(answers)
    next(answers)
    assert len(taken) <= 8
