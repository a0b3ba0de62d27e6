"""NTUA: 60 s tests of nginx beside stressors for CPU, L3 and memory bandwidth, in campaigns.

A row a test: `campaign`, `Replicas`, `Given_RPS`, how many stressors (`pods_*`), latency alone
(`base_*_ms`), `slowdown_p99`, and counters of each core. Rows of nginx alone (`is_baseline`) are
not co-runs: they are its solo profile.

Where the two run is not written in the file, but a host knows it (pinning). It is taken from
residency of the cores: the victim's from its rows alone, the stressors' from what is added to that,
as shares of three groups of cores, the median of a campaign and layout of replicas. No latency
goes into it, but it is measured during the co-runs: a stand-in for known pinning, to be told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.tables import Table, read_table
from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.corun import CoRuns, joined
from evenkeel.domain.errors import TraceInvalid

N_CORES: Final = 8
CORE_GROUPS: Final = ((0, 1, 2), (3, 4, 5), (6, 7))
STRESSORS: Final = ("cpu", "l3", "membw")
WORDS: Final = ("campaign", "Replicas")
NUMBERS: Final = (
    "Given_RPS",
    *(f"pods_{name}" for name in STRESSORS),
    "is_baseline",
    "base_p99_ms",
    "base_avg_ms",
    "slowdown_p99",
)
BUSY: Final = tuple(f"Core{i}_C0res_mean" for i in range(N_CORES))
IPC: Final = tuple(f"Core{i}_IPC_mean" for i in range(N_CORES))
MIN_DEVIATION: Final = 0.01
"""Of cycles per instruction, relative: repeats agree no better than that."""

_Key = tuple[str, ...]


def read_ntua(paths: Sequence[Path]) -> CoRuns:
    """All co-runs of the files. Raises TraceInvalid with file and row for what cannot be."""
    return joined([_read(path) for path in paths])


def _read(path: Path) -> CoRuns:
    table = read_table(path, WORDS, NUMBERS, (*BUSY, *IPC))
    for name in NUMBERS:
        column = table.numbers[name]
        table.require(np.isfinite(column) & (column >= 0), f"{name} is no number from 0 on")
    slowdown = table.numbers["slowdown_p99"]
    table.require(slowdown > 0, "slowdown_p99 is no number above 0")
    is_alone = table.numbers["is_baseline"] > 0
    if is_alone.all():
        raise TraceInvalid(f"{path}: nginx is alone in every row; co-runs are expected")
    replicas = np.array([_replicas(word) for word in table.words["Replicas"]])
    numbers = table.numbers
    load = np.column_stack(
        [numbers["Given_RPS"], replicas, numbers["base_p99_ms"], numbers["base_avg_ms"]]
    )
    stress = np.column_stack([numbers[f"pods_{name}"] for name in STRESSORS])
    rows = zip(numbers["Given_RPS"], table.words["Replicas"], strict=True)
    kinds = [
        "+".join(f"{int(n)} {s}" for n, s in zip(row, STRESSORS, strict=True)) for row in stress
    ]
    groups = [f"cores_{g[0]}_{g[-1]}" for g in CORE_GROUPS]
    co_runs = CoRuns(
        victim=tuple(f"nginx {int(rps)}/s x {where}" for rps, where in rows),
        partner=tuple(kinds),
        campaign=tuple(table.words["campaign"]),
        victim_features=("requests_per_s", "replicas", "alone_p99_ms", "alone_mean_ms"),
        partner_features=tuple(f"{name}_stressors" for name in STRESSORS),
        placement_features=(
            *(f"victim_{name}" for name in groups),
            *(f"partner_{name}" for name in groups),
        ),
        victim_solo=load,
        partner_solo=stress,
        placement=_placement(table, is_alone),
        slowdown=slowdown,
        cpi_rise=_cpi_rise(table, is_alone),
    )
    return co_runs.take(~is_alone)


def _replicas(word: str) -> int:
    """How many: "3", "weighted_2_1" (two nodes: 3), "balanced_2" (2 each: 4), "node1_rep4"."""
    counts = [int(n) for n in re.findall(r"\d+", word)]
    if not counts:
        return 1
    if word.startswith("balanced"):
        return 2 * counts[-1]
    return counts[-1] if word.startswith("node") else sum(counts)


def _placement(table: Table, is_alone: Bools) -> F64:
    """(N, 6) shares of the victim's and of the stressors' work by group of cores; NaN: unknown."""
    out = np.full((table.n, 2 * len(CORE_GROUPS)), np.nan)
    if any(name not in table.numbers for name in BUSY):
        return out
    busy = np.column_stack([table.numbers[name] for name in BUSY])
    layout = list(zip(table.words["campaign"], table.words["Replicas"], strict=True))
    loads = [str(rps) for rps in table.numbers["Given_RPS"]]
    full = [(*at, rps) for at, rps in zip(layout, loads, strict=True)]
    campaigns = [(name,) for name in table.words["campaign"]]
    alone = np.full(busy.shape, np.nan)
    for keys in (full, campaigns, [(rps,) for rps in loads], [()] * table.n):
        found = _medians(keys, busy, is_alone)
        alone = np.where(np.isnan(alone), found, alone)
    added = np.maximum(busy - np.nan_to_num(alone), 0.0)
    victim, partner = _shares(alone), _shares(added)
    co_run = ~is_alone
    half = len(CORE_GROUPS)
    out[:, :half] = _medians(layout, victim, co_run)
    out[:, half:] = _medians(layout, partner, co_run)
    return out


def _cpi_rise(table: Table, is_alone: Bools) -> F64:
    """(N,) deviations of mean cycles per instruction from the same campaign's rows alone."""
    if any(name not in table.numbers for name in IPC):
        return np.full(table.n, np.nan)
    ipc = np.column_stack([table.numbers[name] for name in IPC])
    cpi = np.mean(1.0 / np.maximum(ipc, 1e-3), axis=1, keepdims=True)
    campaigns = [(name,) for name in table.words["campaign"]]
    middle = _medians(campaigns, cpi, is_alone)
    deviation = 1.4826 * _medians(campaigns, np.abs(cpi - middle), is_alone)
    return np.asarray(((cpi - middle) / np.maximum(deviation, MIN_DEVIATION * middle))[:, 0])


def _shares(busy: F64) -> F64:
    """(N, 3) of each group of cores."""
    groups = np.column_stack([busy[:, list(g)].sum(axis=1) for g in CORE_GROUPS])
    total = groups.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(groups, total, out=np.full(groups.shape, np.nan), where=total > 0))


def _medians(keys: Sequence[_Key], values: F64, which: Bools) -> F64:
    """For each row the median of those rows in `which` that have its key; NaN where none has."""
    rows: dict[_Key, list[int]] = {}
    known = which & ~np.isnan(values).any(axis=1)
    for i in np.flatnonzero(known).tolist():
        rows.setdefault(keys[i], []).append(i)
    middle = {key: np.median(values[index], axis=0) for key, index in rows.items()}
    unknown = np.full(values.shape[1], np.nan)
    return np.array([middle.get(key, unknown) for key in keys])
