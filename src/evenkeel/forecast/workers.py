"""Who does independent pieces of work: this thread, several, or the machines of a cluster.

`do` holds what all pieces have in common and reaches a worker once; items reach it one by one. The
same code runs everywhere, so the results are the same, to the byte on processors of one kind. For
workers elsewhere `do`, items, results and what is reported must be picklable: functions of modules
and `functools.partial` of them are, closures are not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Report = Callable[..., None]
"""Told how far a long piece of work has come."""


def ignore(*_told: object) -> None:
    """A `Report` to nobody."""


class Workers(Protocol):
    """One `map` at a time."""

    def map(
        self, do: Callable[[T, Report], R], items: Iterable[T], report: Report = ignore
    ) -> Iterator[R]:
        """`do(item, report)` of all items, in their order; raises what `do` raises.

        Items are taken as they are needed. Of what is reported the latest may be all that comes.
        """
        ...


@dataclass(frozen=True, slots=True)
class InTurn:
    """One piece after the other, here."""

    def map(
        self, do: Callable[[T, Report], R], items: Iterable[T], report: Report = ignore
    ) -> Iterator[R]:
        for item in items:
            yield do(item, report)


@dataclass(frozen=True, slots=True)
class Threads:
    """For work that lets other threads run, as NumPy and ONNX Runtime do; not for training."""

    n: int

    def map(
        self, do: Callable[[T, Report], R], items: Iterable[T], report: Report = ignore
    ) -> Iterator[R]:
        source, running = iter(items), deque[Future[R]]()
        with ThreadPoolExecutor(self.n) as pool:
            while True:
                room = 2 * self.n - len(running)
                running.extend(pool.submit(do, item, report) for item in islice(source, room))
                if not running:
                    return
                yield running.popleft().result()


IN_TURN: Final = InTurn()
