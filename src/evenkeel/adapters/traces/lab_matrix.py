"""Co-runs that `evenkeel lab matrix` measured: real guests on one host with one CPU.

A row a victim: `victim`, `partner`, `partner_2` (in triples), `slowdown` against its own controls,
`victim_solo_*` and so on, what each does alone, as its host sees it. Rows without a partner are
controls: they tell the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.tables import Table, read_table
from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.corun import CoRuns, joined

FEATURES: Final = (
    "cpu_cores",
    "cpu_cores_p95",
    "cpu_used",
    "device_cores",
    "vcpus",
    "memory_mib",
    "faults",
    "iops",
    "disk_mb_s",
    "disk_ms",
    "net_mbit_s",
    "packets",
)
"""Names as in the file, after `victim_solo_`; rates are a second."""
HOST_CPUS: Final = 1.0
"""Of the host that all guests share."""
SIDES: Final = ("victim", "partner", "partner_2")


@dataclass(frozen=True, slots=True, eq=False)
class LabMatrix:
    """Pairs as co-runs; triples as the same victims beside their first and their second partner
    (`slowdown` is that of the whole triple in both); and the slowdowns of controls (C,)."""

    pairs: CoRuns
    beside_first: CoRuns
    beside_second: CoRuns
    controls: F64


def read_lab_pairs(paths: Sequence[Path]) -> CoRuns:
    """The pairs of the files. Raises TraceInvalid with file and line for what cannot be."""
    return read_lab_matrix(paths).pairs


def read_lab_matrix(paths: Sequence[Path]) -> LabMatrix:
    """All rows of the files. Raises TraceInvalid with file and line for what cannot be."""
    found = [_read(path) for path in paths]
    return LabMatrix(
        joined([one.pairs for one in found]),
        joined([one.beside_first for one in found]),
        joined([one.beside_second for one in found]),
        np.concatenate([one.controls for one in found]),
    )


def _read(path: Path) -> LabMatrix:
    columns = [f"{side}_solo_{name}" for side in SIDES for name in FEATURES]
    table = read_table(path, SIDES, ("slowdown", *columns))
    words = table.words
    table.require(np.array([bool(v) for v in words["victim"]]), "a victim without a name")
    one, two = (np.array([bool(name) for name in words[side]]) for side in SIDES[1:])
    table.require(one | ~two, "a second partner without a first")
    slowdown = table.numbers["slowdown"]
    table.require(np.isfinite(slowdown) & (slowdown > 0), "slowdown is no number above 0")
    there = {"victim": np.ones(table.n, dtype=bool), "partner": one, "partner_2": two}
    solo = {side: _solo(table, side, there[side]) for side in SIDES}
    pairs, triples = one & ~two, two

    def co_runs(partner: str, which: Bools) -> CoRuns:
        index = np.flatnonzero(which)
        return CoRuns(
            victim=tuple(words["victim"][i] for i in index),
            partner=tuple(words[partner][i] for i in index),
            campaign=(path.name,) * len(index),
            victim_features=FEATURES,
            partner_features=FEATURES,
            placement_features=(),
            victim_solo=solo["victim"][index],
            partner_solo=solo[partner][index],
            placement=np.empty((len(index), 0)),
            slowdown=slowdown[index],
            cpi_rise=np.full(len(index), np.nan),
        )

    return LabMatrix(
        co_runs("partner", pairs),
        co_runs("partner", triples),
        co_runs("partner_2", triples),
        slowdown[~one],
    )


def _solo(table: Table, side: str, there: Bools) -> F64:
    """(N, F) of one side; NaN where nobody is."""
    values = []
    for name in FEATURES:
        column = table.numbers[f"{side}_solo_{name}"]
        right = ~there | np.isnan(column) | (np.isfinite(column) & (column >= 0))
        table.require(right, f"{side}_solo_{name} is negative or infinite")
        values.append(np.where(there, column, np.nan))
    return np.column_stack(values)
