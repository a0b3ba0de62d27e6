"""A day of predictions that came about right: CPU well, disk less so, a minute ahead with a gap."""

from __future__ import annotations

from evenkeel.domain.reliability import UNIT, BinSums
from evenkeel.domain.resources import Resource

# predicted, measured, number, in each bin
CPU_NOW = [
    (0.002, 0.004, 91_000),
    (0.026, 0.031, 4_100),
    (0.073, 0.081, 2_300),
    (0.148, 0.155, 1_900),
    (0.247, 0.239, 1_400),
    (0.352, 0.361, 900),
    (0.449, 0.462, 610),
    (0.541, 0.530, 240),
    (0.644, 0.652, 130),
    (0.745, 0.76, 44),
    (0.83, 0.71, 9),
]
CPU_AHEAD = [(p, max(0.0, m - 0.06 * (p > 0.2)), n // 12 + 1) for p, m, n in CPU_NOW[:8]]
DISK_NOW = [(0.001, 0.003, 60_000), (0.03, 0.047, 800), (0.15, 0.16, 120)]


def fake_sums() -> dict[tuple[float, Resource], dict[int, BinSums]]:
    return {
        (5.0, Resource.CPU): _bins(CPU_NOW),
        (5.0, Resource.IOPS): _bins(DISK_NOW, (0, 1, 3)),
        (60.0, Resource.CPU): _bins(CPU_AHEAD),
    }


def _bins(rows, places=None) -> dict[int, BinSums]:
    return {k: _sums(*row) for k, row in zip(places or range(len(rows)), rows, strict=True)}


def _sums(predicted: float, measured: float, n: int) -> BinSums:
    """As if twelve at a time had come a minute, each minute's error 0.1 off its mean, in turn."""
    minutes, error = max(2, n // 12), (measured - predicted) / UNIT
    each, off = n / minutes, 0.1 / UNIT
    return BinSums(
        n=n,
        predicted=n * predicted / UNIT,
        measured=n * measured / UNIT,
        squared=n * ((measured - predicted) ** 2 + 0.01) / UNIT,
        n_reports=minutes,
        error_error=minutes * each**2 * (error**2 + off**2),
        n_error=minutes * each**2 * error,
        n_n=minutes * each**2,
    )
