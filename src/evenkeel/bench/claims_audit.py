"""Reads what a controller has stored of claims and adds it up by itself.

It shares no code with the calendar, the store or their words: plain SQL, plain dictionaries, and
the sizes of shards written out once more, on purpose.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

SHARD: Final = {"cpu": 0.05, "memory": 64.0, "net": 1.0, "iops": 10.0}
FIELD: Final = {"memory": "memory_mib", "net": "net_mbit_s", "iops": "iops"}
TOLERANCE: Final = 1.25
"""On the risk: the calendar's quantile is an approximation, this one is exact."""

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Audit:
    """`overcommitted` slots (a host, a resource, an instant from which on) hold more firm shards
    than the host has; in `too_risky` ones demand falls short oftener than is accepted."""

    n_lots: int
    n_claims: int
    overcommitted: list[str]
    too_risky: list[str]
    fullest: float
    claims: dict[str, dict[str, Any]] = field(repr=False)
    """By id: version, start_s, end_s, released_at_s, and `lots` as (host, resource, class,
    n_shards, start_s, end_s)."""


def audit(url: str, epsilon: float = 0.01, correlation: float = 0.2) -> Audit:
    """Look at a database, at one state of it. `url` as in `controller.database_url`."""
    hosts, claims, lots = _read(url)
    capacity = {
        (host, resource): shards
        for host, document in hosts
        for resource, shards in _capacity(document).items()
    }
    steps: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(dict)
    by_claim: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for claim, host, resource, n_shards, start_s, end_s, performance, demand in lots:
        by_claim[claim].append((host, resource, performance, n_shards, start_s, end_s))
        for from_s, to_s, amounts in _amounts(n_shards, start_s, end_s, performance, demand):
            at = steps[host, resource]
            for when, sign in ((from_s, 1), (to_s, -1)):
                sums = at.setdefault(when, [0.0, 0.0, 0.0, 0.0])
                for k, amount in enumerate(amounts):
                    sums[k] += sign * amount
    found: dict[str, list[str]] = {"over": [], "risky": []}
    fullest = 0.0
    for key, changes in steps.items():
        level = [0.0, 0.0, 0.0, 0.0]
        for when in sorted(changes):
            level = [a + b for a, b in zip(level, changes[when], strict=True)]
            has = capacity.get(key, 0)
            where = f"{key[0]}/{key[1]} from {when}: {level} of {has}"
            fullest = max(fullest, level[0] / has if has else 0.0)
            if level[0] > has:
                found["over"].append(where)
            elif level[1] > 0 and _risk(level, has, correlation) > TOLERANCE * epsilon:
                found["risky"].append(where)
    told = {
        row[0]: {
            "version": row[1],
            "start_s": row[2],
            "end_s": row[3],
            "released_at_s": row[4],
            "lots": sorted(by_claim.get(row[0], ())),
        }
        for row in claims
    }
    return Audit(len(lots), len(claims), found["over"], found["risky"], fullest, told)


def _amounts(
    n_shards: int, start_s: int, end_s: int, performance: str, demand: str
) -> list[tuple[int, int, tuple[float, ...]]]:
    """Stretches with (firm, mean, variance, deviation), in shards."""
    if performance == "best-effort":
        return []
    if performance == "pinned" or not demand:
        return [(start_s, end_s, (n_shards, 0.0, 0.0, 0.0))]
    steps = json.loads(demand)
    starts = [start_s, *(max(step[0], start_s) for step in steps[1:])]
    ends = [*(min(at, end_s) for at in starts[1:]), end_s]
    return [
        (from_s, to_s, (0.0, step[1] / 1e3, step[2] / 1e6, step[3] / 1e3))
        for step, from_s, to_s in zip(steps, starts, ends, strict=True)
        if from_s < to_s
    ]


def _risk(level: list[float], has: int, correlation: float) -> float:
    from scipy.stats import gamma

    firm, mean, sum_of_squares, sum_of_deviations = level
    variance = (1 - correlation) * sum_of_squares + correlation * sum_of_deviations**2
    if variance <= 1e-9:
        return float(firm + mean > has + 1e-6)
    return float(gamma.sf(has - firm, mean**2 / variance, scale=variance / mean))


def _capacity(document: bytes) -> dict[str, int]:
    host = json.loads(bytes(document))["host"]
    amounts: dict[str, float] = {"cpu": len(host["cpus"])}
    amounts |= {name: host.get(at) or 0.0 for name, at in FIELD.items()}
    return {name: int(amount / SHARD[name] + 1e-6) for name, amount in amounts.items()}


_QUERIES: Final = (
    "SELECT id, document FROM host",
    "SELECT id, version, start_s, end_s, released_at_s FROM reservation",
    "SELECT reservation, host, resource, n_shards, start_s, end_s, performance, demand FROM lot",
)


def _read(url: str) -> tuple[Rows, Rows, Rows]:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as lite:
            lite.isolation_level = None
            lite.execute("BEGIN")
            hosts, claims, lots = (lite.execute(query).fetchall() for query in _QUERIES)
            return hosts, claims, lots
    import psycopg

    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql", 1)) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        hosts, claims, lots = (connection.execute(query).fetchall() for query in _QUERIES)
        return hosts, claims, lots
