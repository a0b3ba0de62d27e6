"""Fair-CO2 pairs: ordered pairs of workloads, each alone and together on one two-socket server.

A row a direction: `victim`, `partner`, `slowdown` (time together over time alone) and what each
did alone, `victim_solo_*` and `partner_solo_*`: CPU in percent of a core as its container counts
it, memory traffic in GB/s, L3 occupancy in KB a socket, watts, seconds. All cores are shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.tables import read_table
from evenkeel.domain.arrays import F64
from evenkeel.domain.corun import CoRuns, joined

FEATURES: Final = {
    "cpu_cores": ("ctr_cpu_pct", 0.01),
    "cpu_cores_p95": ("cpu_util_pct_p95", 0.01),
    "mem_read_gb_s": ("mem_rd_gbs", 1.0),
    "mem_read_gb_s_p95": ("mem_rd_gbs_p95", 1.0),
    "mem_write_gb_s": ("mem_wr_gbs", 1.0),
    "mem_write_gb_s_p95": ("mem_wr_gbs_p95", 1.0),
    "llc_0_mib": ("l3_s0_kb", 1 / 1024),
    "llc_1_mib": ("l3_s1_kb", 1 / 1024),
    "memory_gib": ("ctr_mem_gib", 1.0),
    "cpu_w": ("cpu_w", 1.0),
    "dram_w": ("dram_w", 1.0),
    "seconds": ("secs", 1.0),
}
"""Our name and unit -> the file's name after `victim_solo_` or `partner_solo_`, and the factor."""


def read_fairco2(paths: Sequence[Path]) -> CoRuns:
    """All rows of the files. Raises TraceInvalid with file and line for what cannot be."""
    return joined([_read(path) for path in paths])


def _read(path: Path) -> CoRuns:
    columns = [f"{side}_solo_{n}" for side in ("victim", "partner") for n, _ in FEATURES.values()]
    table = read_table(path, ("victim", "partner"), ("slowdown", *columns))
    named = [all(pair) for pair in zip(*table.words.values(), strict=True)]
    table.require(np.array(named, dtype=bool), "a victim or partner without a name")
    slowdown = table.numbers["slowdown"]
    table.require(np.isfinite(slowdown) & (slowdown > 0), "slowdown is no number above 0")

    def solo(side: str) -> F64:
        values = []
        for name, factor in FEATURES.values():
            column = table.numbers[f"{side}_solo_{name}"]
            right = np.isnan(column) | (np.isfinite(column) & (column >= 0))
            table.require(right, f"{side}_solo_{name} is negative or infinite")
            values.append(column * factor)
        return np.column_stack(values)

    return CoRuns(
        victim=tuple(table.words["victim"]),
        partner=tuple(table.words["partner"]),
        campaign=(path.name,) * table.n,
        victim_features=tuple(FEATURES),
        partner_features=tuple(FEATURES),
        placement_features=(),
        victim_solo=solo("victim"),
        partner_solo=solo("partner"),
        placement=np.empty((table.n, 0)),
        slowdown=slowdown,
        cpi_rise=np.full(table.n, np.nan),
    )
