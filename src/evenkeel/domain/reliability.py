"""Predicted against measured loss, counted by how much was predicted: sums that only add up.

An agent tallies a minute and sends it once; the controller turns each tally into `BinSums` and adds
them, in any order. Sums are whole numbers of `UNIT`, so that no order changes the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evenkeel.domain.resources import Resource

EDGES: Final = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Lower ends of the bins of predicted loss; the last one ends at 1."""
N_BINS: Final = len(EDGES)
GRID: Final = 1
"""Names the bins; other bins get another number, and no controller adds one to the other."""
UNIT: Final = 1e-5
MIN_SAMPLES: Final = 30
"""A bin with fewer says nothing yet."""
CLOSE_POINTS: Final = 2.0
"""Predicted and measured loss should agree this closely, in points, in every populated bin."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one agent counted in one minute, on one resource at one horizon.

    All tuples have an entry for each of `bins` (rising). `predicted`, `measured` and `squared` are
    sums over the `n` predictions of the loss predicted, the loss that came, and the square of their
    difference, in `UNIT`.
    """

    resource: Resource
    horizon_s: float
    bins: tuple[int, ...]
    n: tuple[int, ...]
    predicted: tuple[int, ...]
    measured: tuple[int, ...]
    squared: tuple[int, ...]
    grid: int = GRID


@dataclass(frozen=True, slots=True)
class BinSums:
    """Many tallies of one bin, added up; `predicted`, `measured`, `squared` in `UNIT`.

    Errors of one host in one minute are alike, so a minute is what counts as independent:
    `n_reports` of them, and with each one's error E (measured - predicted) and number n the sums of
    E E (`error_error`, in UNIT squared), n E (`n_error`, in UNIT) and n n (`n_n`).
    """

    n: float = 0.0
    predicted: float = 0.0
    measured: float = 0.0
    squared: float = 0.0
    n_reports: float = 0.0
    error_error: float = 0.0
    n_error: float = 0.0
    n_n: float = 0.0

    def __add__(self, other: BinSums) -> BinSums:
        return BinSums(
            n=self.n + other.n,
            predicted=self.predicted + other.predicted,
            measured=self.measured + other.measured,
            squared=self.squared + other.squared,
            n_reports=self.n_reports + other.n_reports,
            error_error=self.error_error + other.error_error,
            n_error=self.n_error + other.n_error,
            n_n=self.n_n + other.n_n,
        )


def sums_of(tally: Tally) -> dict[int, BinSums]:
    """One tally as sums, by bin."""
    rows = zip(tally.bins, tally.n, tally.predicted, tally.measured, tally.squared, strict=True)
    return {
        k: BinSums(
            n=float(n),
            predicted=float(predicted),
            measured=float(measured),
            squared=float(squared),
            n_reports=1.0,
            error_error=float((measured - predicted) ** 2),
            n_error=float(n * (measured - predicted)),
            n_n=float(n * n),
        )
        for k, n, predicted, measured, squared in rows
    }


def flaw_of(tally: Tally) -> str:
    """Why a tally cannot be right, or nothing. One of another grid is not looked into."""
    if tally.grid != GRID:
        return ""
    columns = (tally.n, tally.predicted, tally.measured, tally.squared)
    if any(len(column) != len(tally.bins) for column in columns):
        return "its columns differ in length"
    if list(tally.bins) != sorted(set(tally.bins)) or not set(tally.bins) <= set(range(N_BINS)):
        return "its bins are not rising or not there"
    if not 0 < tally.horizon_s <= 86_400:
        return f"horizon_s {tally.horizon_s} is not within a day"
    most = 1 / UNIT
    for k, n, *sums in zip(tally.bins, *columns, strict=True):
        if n < 1 or any(not 0 <= each <= n * most + 1 for each in sums):
            return f"bin {k} holds numbers that cannot be"
    return ""
