"""What a workload's solo profile says, as few features whose distances mean something.

Magnitudes are compared by ratio (log(1 + x)), and ratios between them are features of their own:
how much of the traffic is reading, how much traffic there is per core, how peaky it is. A view is
a set of features; models that average several views depend on none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.corun import CoRuns

CPU: Final = "cpu_cores"
READ: Final = "mem_read_gb_s"
WRITE: Final = "mem_write_gb_s"
READ_PEAK: Final = "mem_read_gb_s_p95"
WRITE_PEAK: Final = "mem_write_gb_s_p95"
WATTS: Final = "cpu_w"
SECONDS: Final = "seconds"
ESSENTIAL: Final = (CPU, READ, WRITE)

VIEWS: Final[dict[str, tuple[str, ...]]] = {
    "traffic": ("cpu", "read", "write", "seconds"),
    "intensity": ("cpu", "traffic", "read_share", "per_core", "seconds"),
    "shape": ("cpu", "traffic", "peaks", "read_share", "per_core", "watts_per_core", "seconds"),
}
WHOLE: Final = "whole"
"""The view of profiles without memory traffic: every feature as it is."""


def views_of(co_runs: CoRuns) -> tuple[str, ...]:
    """The views that these profiles have the features for."""
    names = co_runs.victim_features
    if co_runs.has_one_profile and all(n in names for n in ESSENTIAL):
        return tuple(VIEWS)
    return (WHOLE,)


def look(view: str, names: tuple[str, ...], values: F64) -> F64:
    """(N, F) features of `view`, from (N, V) values of `names`."""
    logs = np.log1p(np.maximum(values, 0.0))
    if view == WHOLE:
        return np.asarray(logs)
    at = {name: values[:, i] for i, name in enumerate(names)}
    found = _features(at)
    return np.column_stack([found[f] for f in VIEWS[view] if f in found])


def _features(at: Mapping[str, F64]) -> dict[str, F64]:
    def log(name: str) -> F64:
        return np.asarray(np.log1p(np.maximum(at[name], 0.0)))

    traffic = np.maximum(at[READ] + at[WRITE], 1e-3)
    out = {
        "cpu": log(CPU),
        "read": log(READ),
        "write": log(WRITE),
        "traffic": np.log1p(traffic),
        "read_share": np.log((at[READ] + 0.1) / (at[WRITE] + 0.1)),
        "per_core": np.log(traffic / np.maximum(at[CPU], 1e-2)),
    }
    if READ_PEAK in at and WRITE_PEAK in at:
        out["peaks"] = np.log(np.maximum(at[READ_PEAK] + at[WRITE_PEAK], 1e-3) / traffic)
    if WATTS in at:
        out["watts_per_core"] = np.log1p(at[WATTS] / np.maximum(at[CPU], 1e-2))
    if SECONDS in at:
        out["seconds"] = log(SECONDS)
    return out


def demands(co_runs: CoRuns) -> F64:
    """(N, D) physics of a pair: what both press on a pool with together, in logs.

    Memory traffic (mean, and peaks when they coincide), the partner's cores, how much of the
    victim's time the partner is there at all (the shorter one ends first); the cores of a partner
    that is a copy of the victim, else 0: what starts together wants the same at every moment. D = 0
    without traffic. Where a partner is not described as victims are, what it is made of: counts of
    neighbours, whose hazards add.
    """
    if not co_runs.has_one_profile:
        return look(WHOLE, co_runs.partner_features, co_runs.partner_solo)
    if views_of(co_runs) == (WHOLE,):
        return np.empty((co_runs.n, 0))

    def total(*names: str) -> F64:
        sums = np.zeros(co_runs.n)
        for side in ("victim", "partner"):
            for name in names:
                column = co_runs.column(side, name)
                sums = sums + (0.0 if column is None else column)
        return np.asarray(np.log(np.maximum(sums, 1e-3)))

    known = co_runs.column("partner", CPU)
    cores = np.zeros(co_runs.n) if known is None else known
    is_copy = [v == p for v, p in zip(co_runs.victim, co_runs.partner, strict=True)]
    columns = [total(READ, WRITE), np.log1p(cores), np.where(is_copy, cores, 0.0)]
    if co_runs.column("victim", READ_PEAK) is not None:
        columns.append(total(READ_PEAK, WRITE_PEAK))
    if co_runs.column("victim", SECONDS) is not None:
        columns.append(together(co_runs))
    return np.column_stack(columns)


def together(co_runs: CoRuns) -> F64:
    """(N,) log of partner's over victim's time alone, in [-3, 0]: 0 when it is there throughout."""
    mine, theirs = co_runs.column("victim", SECONDS), co_runs.column("partner", SECONDS)
    if mine is None or theirs is None:
        return np.zeros(co_runs.n)
    ratio = np.maximum(theirs, 1e-3) / np.maximum(mine, 1e-3)
    return np.asarray(np.clip(np.nan_to_num(np.log(ratio)), -3.0, 0.0))
