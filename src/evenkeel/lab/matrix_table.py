"""From measured cells to the table of co-runs: slowdowns against the controls on either side.

Pure. A row is a victim and its partners, over all the cells that measured them: how much slower
than alone, what each does alone, and what the agent saw of the victim. The columns mean what those
of Fair-CO2 mean.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

import numpy as np

from evenkeel.envelope import Result
from evenkeel.lab.matrix_plan import BY_NAME
from evenkeel.lab.matrix_run import Measured
from evenkeel.lab.matrix_seen import FIELDS, Seen

SEEN: Final = (
    "cpu_cores",
    "cpu_used",
    *(f.name for f in fields(Seen) if f.name not in FIELDS),
)
"""What the agent saw of the victim in the co-run."""
SIDES: Final = ("victim", "partner", "partner_2")
HEAD: Final = (
    *SIDES,
    "slowdown",
    "control_spread",
    "cells",
    "cell_spread",
    *(f"seen_{name}" for name in SEEN),
    *(f"{side}_solo_{name}" for side in SIDES for name in FIELDS),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One victim beside the same partners; `partners` is empty in a control, a row of its own that
    is judged by the others.

    `slowdown` is the work alone, at the rate between the controls before and after, over the work
    here. `control_spread` is the standard deviation of the workload's controls, relative to their
    mean. `cell_losses` are the losses in each cell: two in a cell of the workload
    beside itself.
    """

    victim: str
    partners: tuple[str, ...]
    slowdown: float
    control_spread: float
    cell_losses: tuple[float, ...]
    seen: Seen

    @property
    def cell_spread(self) -> float:
        """Standard deviation of the loss from cell to cell; NaN for one cell."""
        n = len(self.cell_losses)
        return float(np.std(self.cell_losses, ddof=1)) if n > 1 else math.nan

    @property
    def loss(self) -> float:
        return max(0.0, 1.0 - 1.0 / self.slowdown)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the order they were first measured, and each workload's profile alone."""

    rows: tuple[Row, ...]
    solo: dict[str, dict[str, float]]

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEAD)
        for row in self.rows:
            partners = (*row.partners, "", "")[:2]
            cells: list[object] = [row.victim, *partners, _short(row.slowdown)]
            cells += [_short(row.control_spread), len(row.cell_losses), _short(row.cell_spread)]
            cells += [_short(getattr(row.seen, name)) for name in SEEN]
            for who in (row.victim, *partners):
                cells += [_short(self.solo[who][f]) if who else "" for f in FIELDS]
            writer.writerow(cells)
        return out.getvalue()

    def metrics(self) -> dict[str, float]:
        """What the run itself was like: noise, losses, and how well profilers inside told them."""
        co_runs = [row for row in self.rows if row.partners]
        found = {
            "co_runs": float(len(co_runs)),
            "workloads": float(len(self.solo)),
            "control_spread.median": float(np.median([r.control_spread for r in self.rows])),
            "control_spread.worst": max(r.control_spread for r in self.rows),
            "loss.mean": float(np.mean([r.loss for r in co_runs])),
            "loss.above_10": float(np.mean([r.loss > 0.1 for r in co_runs])),
        }
        spreads = np.array([r.cell_spread for r in co_runs])
        if np.isfinite(spreads).any():  # how well a cell is repeated, in points of loss
            found["cell_spread.points"] = 100 * float(np.nanmean(spreads))
        told = {
            "inside": [(r.seen.inside_loss, r.loss) for r in co_runs],
            "delay": [(r.seen.loss_cpu, r.loss) for r in co_runs],
        }
        for name, pairs in told.items():
            known = np.array([p for p in pairs if not math.isnan(p[0])]).reshape(-1, 2)
            if len(known) > 2:
                off = known[:, 0] - known[:, 1]
                found[f"{name}.mae"] = float(np.abs(off).mean())
                found[f"{name}.bias"] = float(off.mean())
                found[f"{name}.correlation"] = float(np.corrcoef(known.T)[0, 1])
                found[f"{name}.known"] = len(known) / len(pairs)
        return found


def table(cells: Sequence[Measured]) -> Table:
    """Raises ValueError when a workload has no control."""
    controls: dict[str, list[Measured]] = {}
    for cell in cells:
        if len(cell.members) == 1:
            controls.setdefault(cell.members[0], []).append(cell)
    needed = {m for cell in cells for m in cell.members}
    if missing := needed - controls.keys():
        raise ValueError(f"never measured alone: {', '.join(sorted(missing))}")
    found: dict[tuple[str, tuple[str, ...], int], list[tuple[float, Seen]]] = {}
    for cell in cells:
        for i, victim in enumerate(cell.members):
            around = [c for c in controls[victim] if c.index != cell.index]
            if not around or cell.rates[i] <= 0:  # nothing to compare with, or no work at all
                continue
            partners = tuple(sorted(cell.members[:i] + cell.members[i + 1 :]))
            key = (victim, partners, -1 if partners else cell.index)
            speed = cell.rates[i] / _between(cell.index, around)
            found.setdefault(key, []).append((speed, cell.seen[i]))
    spread = {name: _spread([c.rates[0] for c in alone]) for name, alone in controls.items()}
    rows = [
        Row(
            victim,
            partners,
            1.0 / float(np.mean([speed for speed, _ in measured])),
            spread[victim],
            tuple(1.0 - speed for speed, _ in measured),
            _mean_seen([seen for _, seen in measured]),
        )
        for (victim, partners, _), measured in found.items()
    ]
    solo = {
        name: asdict(_mean_seen([c.seen[0] for c in alone])) for name, alone in controls.items()
    }
    return Table(tuple(rows), solo)


def result(
    found: Table, cells: Sequence[Measured], seconds: float, seed: int, took_s: float
) -> Result:
    """The envelope, with every cell as it was measured."""
    return Result(
        name="lab.matrix",
        seconds=took_s,
        metrics={k: round(v, 4) for k, v in found.metrics().items()},
        seed=seed,
        detail={
            "seconds_per_cell": seconds,
            "workloads": {name: BY_NAME[name].load for name in found.solo},
            "cells": [
                {
                    "members": c.members,
                    "rates": [round(r, 3) for r in c.rates],
                    "stolen": c.stolen,
                }
                for c in cells
            ],
        },
    )


def _between(index: int, controls: Sequence[Measured]) -> float:
    """Rate alone at the time of cell `index`, on the line between the controls around it."""
    at = np.array([float(c.index) for c in controls])
    rates = np.array([c.rates[0] for c in controls])
    order = np.argsort(at)
    return float(np.interp(float(index), at[order], rates[order]))


def _mean_seen(seen: Sequence[Seen]) -> Seen:
    means = {}
    for name in Seen.__slots__:
        known = [value for one in seen if not math.isnan(value := getattr(one, name))]
        means[name] = float(np.mean(known)) if known else math.nan
    return Seen(**means)


def _spread(values: Sequence[float]) -> float:
    mean = float(np.mean(values))
    return float(np.std(values, ddof=1)) / mean if len(values) > 1 and mean > 0 else math.nan


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"
