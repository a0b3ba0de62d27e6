"""The replay report in words and numbers: what each policy would have meant, beside `stay`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.sim.replay.run import Outcome

STAY: Final = "stay"
HURT_H: Final = 1.0
"""A VM is hurt that lost more than a tenth of what it wanted for so many hours in all."""


LEAST_POINTS: Final = 0.001
LEAST_PCT: Final = 0.1
"""What differs less is about the same, in points and in percents."""
ALIKE: Final = ("same", "about the same", "")


@dataclass(frozen=True, slots=True)
class Row:
    """A metric: `points` are percents, told apart in points; `whole` is a count."""

    key: str
    label: str
    unit: str = ""
    points: bool = False
    whole: bool = False
    help: str = ""


ROWS: Final = (
    Row("energy_kwh", "Energy", "kWh"),
    Row("wh_per_core_hour", "Energy of work done", "Wh a core hour"),
    Row("host_hours", "Hosts on", "hours"),
    Row("hosts_peak", "Hosts on at most", whole=True),
    Row("migrations", "Moves of VMs", whole=True),
    Row("migrated_gib", "Memory sent by moves", "GiB"),
    Row("unserved_pct.cpu", "CPU work not done", "%", points=True, help="of what was wanted"),
    Row("unserved_pct.memory", "Memory not given", "%", points=True, help="of what was wanted"),
    Row("unserved_pct.net", "Network not given", "%", points=True, help="of what was wanted"),
    Row("unserved_pct.iops", "Disk not given", "%", points=True, help="of what was wanted"),
    Row("lost_pct.pools", "CPU lost: none left", "%", points=True),
    Row("lost_pct.overlap", "CPU lost: busy at one moment", "%", points=True),
    Row("lost_pct.corun", "CPU lost: slowed by neighbours", "%", points=True),
    Row("lost_pct.moves", "CPU lost: being moved", "%", points=True),
    Row("slatah_pct", "Time hosts ran short", "%", points=True, help="of the time they were on"),
    Row("contended_vm_hours", "Contention", "VM-hours", help="a VM lost more than a tenth"),
    Row("hurt_vms", "VMs hurt", whole=True, help="contended for an hour or more"),
    Row("loss_p99_pct", "Loss, 99th percentile", "%", points=True, help="of VM-slots"),
    Row("worst_vm_loss_pct", "Loss of the worst VM", "%", points=True),
    Row("refused", "VMs that found no host", whole=True),
    Row("refused_pct", "Work of VMs without a host", "%", points=True),
    Row("mitigations", "Fixes on hosts", whole=True),
    Row("rolled_back", "Fixes taken back", whole=True),
)
OPTIONAL: Final = frozenset(
    row.key for row in ROWS if row.key.startswith(("unserved_pct.", "lost_pct.", "refused"))
) - {"unserved_pct.cpu"} | {"mitigations", "rolled_back"}
"""Not shown where it is nothing under every policy."""
HIDDEN: Final = frozenset({"unserved_pct"})
"""The largest of the `unserved_pct.*` below it."""


def metrics_of(outcome: Outcome) -> dict[str, float]:
    """Its metrics that are known, and how many VMs were hurt."""
    found = {key: float(v) for key, v in outcome.metrics.items() if math.isfinite(v)}
    contended = outcome.by_vm.get("contended_h")
    if contended is not None:
        found["hurt_vms"] = float(np.count_nonzero(contended >= HURT_H))
    return found


def base_of(outcomes: Sequence[Outcome]) -> Outcome:
    """What others are held against: `stay`, or the first where nobody stays."""
    return next((each for each in outcomes if each.policy == STAY), outcomes[0])


def number(value: float | None, whole: bool = False) -> str:
    """As people write it: three digits that count, thousands apart."""
    if value is None or not math.isfinite(value):
        return "not known"
    if whole or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace("-", "−")
    if abs(value) < 0.001:
        return "under 0.001" if value > 0 else "−under 0.001"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}".replace("-", "−")


def hours(value: float | None) -> str:
    """Minutes where it is less than two hours."""
    if value is None or not math.isfinite(value):
        return "not known"
    if 0 < value < 2:
        return f"{60 * value:.0f} min"
    return f"{value:,.0f} h"


def difference(value: float | None, base: float | None, row: Row) -> str:
    """To the policy that others are held against; "" where one is not known."""
    if value is None or base is None:
        return ""
    change = value - base
    if abs(change) < 1e-9:
        return "same"
    sign = "+" if change > 0 else "−"
    if row.points:
        small = abs(change) < LEAST_POINTS
        return "about the same" if small else f"{sign}{number(abs(change))} points"
    if row.whole or not base:
        return f"{sign}{number(abs(change), row.whole)}"
    share = 100 * change / base
    if abs(share) < LEAST_PCT:
        return "about the same"
    if abs(share) >= 1000:
        return f"{number(value / base)} times"
    return f"{sign}{number(abs(share))} %"


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The table: a row a metric, a cell a policy."""
    found = [metrics_of(outcome) for outcome in outcomes]
    base = metrics_of(base_of(outcomes))
    known = {row.key: row for row in ROWS}
    others = dict.fromkeys(key for each in found for key in each if key not in known)
    rows = []
    for row in (*ROWS, *(Row(key, key) for key in others if key not in HIDDEN)):
        values = [each.get(row.key) for each in found]
        if all(value is None for value in values):
            continue
        if row.key in OPTIONAL and not any(values):
            continue
        cells = [
            _cell(value, None if each is base_of(outcomes) else base.get(row.key), row)
            for value, each in zip(values, outcomes, strict=True)
        ]
        rows.append({"label": row.label, "unit": row.unit, "help": row.help, "cells": cells})
    return rows


def _cell(value: float | None, base: float | None, row: Row) -> dict[str, str]:
    """Less is better, whatever is counted here: `way` is ok, bad, or neither."""
    change, way = difference(value, base, row), ""
    if change not in ALIKE and value is not None and base is not None:
        way = "ok" if value < base else "bad"
    return {"value": number(value, row.whole), "change": change, "way": way}


def sentences(outcome: Outcome, base: Outcome, n_vms: int) -> list[str]:
    """What this policy would have meant, for somebody who was not there."""
    own, other = metrics_of(outcome), metrics_of(base)
    is_base = outcome is base
    said = [_energy(own, other, base.policy, is_base), _moves(own, other, base.policy, is_base)]
    unserved, before = own.get("unserved_pct.cpu"), other.get("unserved_pct.cpu")
    if unserved is not None:
        than = "" if is_base else f" ({base.policy}: {number(before)} %)"
        said.append(
            f"{number(unserved)} % of the CPU work that VMs wanted would not have been done{than}."
            if unserved
            else f"All the CPU work that VMs wanted would have been done{than}."
        )
    if "hurt_vms" in own:
        than = "" if is_base else f" ({base.policy}: {number(other.get('hurt_vms'), True)})"
        who = "None" if not own["hurt_vms"] else number(own["hurt_vms"], True)
        said.append(
            f"{who} of {n_vms:,} VMs would have been hurt: more than a tenth of what they "
            f"wanted was lost for an hour or more{than}."
        )
    if own.get("refused"):
        said.append(f"{number(own['refused'], True)} VMs would have found no host.")
    if own.get("mitigations"):
        said.append(
            f"{number(own['mitigations'], True)} fixes on hosts would have been made, "
            f"{number(own.get('rolled_back', 0.0), True)} of them taken back."
        )
    return [line for line in said if line]


def _energy(own: dict[str, float], other: dict[str, float], than: str, is_base: bool) -> str:
    energy, peak = own.get("energy_kwh"), own.get("hosts_peak")
    if energy is None:
        return ""
    line = f"The fleet would have taken {number(energy)} kWh"
    before = other.get("energy_kwh")
    if not is_base and before:
        share = 100 * (energy - before) / before
        line += (
            f", as much as with {than}"
            if abs(share) < LEAST_PCT
            else f", {number(abs(share))} % {'less' if share < 0 else 'more'} than with {than}"
        )
    if peak is not None:
        line += f", with {number(peak, True)} hosts on at most"
        if not is_base and "hosts_peak" in other:
            line += f" ({than}: {number(other['hosts_peak'], True)})"
    return line + "."


def _moves(own: dict[str, float], other: dict[str, float], than: str, is_base: bool) -> str:
    moves = own.get("migrations")
    if moves is None:
        return ""
    if not moves:
        return "No VM would have been moved."
    gib = own.get("migrated_gib")
    line = f"VMs would have been moved {number(moves, True)} times"
    line += f", {number(gib)} GiB in all" if gib else ""
    if not is_base and other.get("migrations"):
        line += f" ({than}: {number(other['migrations'], True)})"
    return line + "."
