"""Co-runs of workloads with known traits, and files of them in both formats."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evenkeel.adapters.traces.fairco2 import FEATURES
from evenkeel.domain.corun import CoRuns
from evenkeel.interference.pairs.queue import hazards


def known_traits(n: int = 9, seed: int = 3, noise: float = 0.01) -> CoRuns:
    """Every ordered pair of n workloads; log slowdown = own sensitivity x own pressure.

    Sensitivity is half read traffic, half the workload's own; pressure is traffic and cores.
    """
    rng = np.random.default_rng(seed)
    cores, read = rng.uniform(4, 48, n), rng.uniform(5, 80, n)
    write, seconds = read * rng.uniform(0.1, 0.9, n), rng.uniform(50, 60, n)
    profile = np.column_stack([cores, read, write, seconds])
    sensitivity = 0.3 + 0.6 * (np.log(read) - np.log(5)) / np.log(16) + rng.normal(0, 0.1, n)
    pressure = cores / 48 * (0.3 + 0.4 * (read + write) / 150) + rng.normal(0, 0.02, n)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    logs = [sensitivity[i] * pressure[j] + rng.normal(0, noise) for i, j in pairs]
    features = ("cpu_cores", "mem_read_gb_s", "mem_write_gb_s", "seconds")
    return CoRuns(
        victim=tuple(f"w{i}" for i, _ in pairs),
        partner=tuple(f"w{j}" for _, j in pairs),
        campaign=tuple(f"c{i % 3}" for i in range(len(pairs))),
        victim_features=features,
        partner_features=features,
        placement_features=(),
        victim_solo=profile[[i for i, _ in pairs]],
        partner_solo=profile[[j for _, j in pairs]],
        placement=np.empty((len(pairs), 0)),
        slowdown=np.exp(np.array(logs)),
        cpi_rise=np.array(logs) * 10,
    )


def queued(n: int = 8, seed: int = 5) -> CoRuns:
    """Every ordered pair of n VMs on one core; the queue does it, devices suffer more from it."""
    rng = np.random.default_rng(seed)
    used, devices = rng.uniform(0.05, 0.6, n), rng.uniform(0.0, 0.3, n)
    vcpus = np.where(np.arange(n) % 4 == 3, 2.0, 1.0)
    profile = np.column_stack([used, devices, vcpus])
    pairs = [(i, j) for i in range(n) for j in range(n)]
    features = ("cpu_cores", "device_cores", "vcpus")
    co_runs = CoRuns(
        victim=tuple(f"w{i}" for i, _ in pairs),
        partner=tuple(f"w{j}" for _, j in pairs),
        campaign=("lab",) * len(pairs),
        victim_features=features,
        partner_features=features,
        placement_features=(),
        victim_solo=profile[[i for i, _ in pairs]],
        partner_solo=profile[[j for _, j in pairs]],
        placement=np.empty((len(pairs), 0)),
        slowdown=np.ones(len(pairs)),
        cpi_rise=np.full(len(pairs), np.nan),
    )
    share = devices / (used + devices)
    suffers = np.array([1.2 + share[i] + 0.3 * share[j] for i, j in pairs])
    logs = hazards(co_runs, 1.0) * suffers + rng.normal(0, 0.01, len(pairs))
    return replace(co_runs, slowdown=np.exp(logs))


def placed(n: int = 60, seed: int = 4) -> CoRuns:
    """A victim under loads beside stressors; they meet in campaigns a and b, not in c and d."""
    rng = np.random.default_rng(seed)
    load, stressors = rng.uniform(1, 9, n), rng.integers(1, 5, n).astype(float)
    campaign = tuple("abcd"[i % 4] for i in range(n))
    share = np.array([1.0 if name in "ab" else 0.0 for name in campaign])
    logs = 0.1 + 0.5 * np.log1p(stressors) * (0.2 + share) + rng.normal(0, 0.02, n)
    return CoRuns(
        victim=tuple(f"web {round(x)}" for x in load),
        partner=tuple(f"{int(s)} stressors" for s in stressors),
        campaign=campaign,
        victim_features=("load",),
        partner_features=("cpu_stressors",),
        placement_features=("together", "apart"),
        victim_solo=load[:, None],
        partner_solo=stressors[:, None],
        placement=np.column_stack([share, 1 - share]),
        slowdown=np.exp(logs),
        cpi_rise=logs * 4,
    )


def shuffled_truth(co_runs: CoRuns, seed: int = 0) -> CoRuns:
    """The same questions with other answers."""
    rng = np.random.default_rng(seed)
    return replace(co_runs, slowdown=rng.permutation(co_runs.slowdown) + 5.0)


def fairco2_rows(co_runs: CoRuns) -> list[dict[str, Any]]:
    rows = []
    for i in range(co_runs.n):
        row: dict[str, Any] = {
            "victim": co_runs.victim[i],
            "partner": co_runs.partner[i],
            "slowdown": co_runs.slowdown[i],
        }
        for side in ("victim", "partner"):
            for ours, (theirs, factor) in FEATURES.items():
                column = co_runs.column(side, ours)
                row[f"{side}_solo_{theirs}"] = 1.0 if column is None else column[i] / factor
        rows.append(row)
    return rows


def ntua_rows(n_campaigns: int = 4, seed: int = 5) -> list[dict[str, Any]]:
    """Campaigns of 2 rows alone and 12 beside stressors, which meet nginx in even campaigns."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(n_campaigns):
        for load in (500, 1500):
            for kind, n in [("", 0), *((k, n) for k in ("cpu", "l3") for n in (1, 2, 4))]:
                weight = {"": 0.0, "cpu": 0.3, "l3": 0.6}[kind] * (1.0 if c % 2 == 0 else 0.2)
                busy = [1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 2.0, 2.0]
                for core in (3, 4, 5) if c % 2 == 0 else (0, 1, 2):
                    busy[core] += 4.0 * n
                row: dict[str, Any] = {
                    "campaign": f"c{c}",
                    "Replicas": "2",
                    "Given_RPS": load,
                    "pods_cpu": n if kind == "cpu" else 0,
                    "pods_l3": n if kind == "l3" else 0,
                    "pods_membw": 0,
                    "is_baseline": n == 0,
                    "base_p99_ms": 0.15,
                    "base_avg_ms": 0.09,
                    "slowdown_p99": float(np.exp(weight * np.log1p(n) + rng.normal(0, 0.01))),
                }
                row |= {f"Core{i}_C0res_mean": b for i, b in enumerate(busy)}
                row |= {f"Core{i}_IPC_mean": 1.0 / (1 + weight * n) for i in range(8)}
                rows.append(row)
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
