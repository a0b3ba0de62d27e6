"""The co-run matrix: what is planned, what a killed run leaves, and what the table says."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evenkeel.adapters.traces.lab_matrix import FEATURES, read_lab_matrix
from evenkeel.bench.triples import judge_triples
from evenkeel.domain.errors import TraceInvalid
from evenkeel.interference.pairs.base import Facing, Scale
from evenkeel.interference.pairs.catalogue import models
from evenkeel.lab.matrix_plan import (
    BY_NAME,
    POOL_SIZE,
    QUICK,
    TRIPLES,
    WORKLOADS,
    fingerprint,
    guests_needed,
    plan,
    pool_of,
)
from evenkeel.lab.matrix_run import Measured, Notes
from evenkeel.lab.matrix_seen import FIELDS, Seen
from evenkeel.lab.matrix_table import table

NAMES = ("cpu30", "cpu95", "write50", "send20")
USED = dict(zip(NAMES, (0.3, 0.9, 0.2, 0.15), strict=True))


def seen(name: str, **changes: float) -> Seen:
    zeros = dict.fromkeys(Seen.__slots__, 0.0)
    return Seen(
        **zeros
        | {"cpu_cores": USED[name], "cpu_used": USED[name], "vcpus": 1.0, "device_cores": 0.05}
        | changes
    )


def a_run(drift: float = 0.0) -> list[Measured]:
    """Every workload does 100 a second alone (less and less with `drift`) and suffers j's CPU."""
    groups: list[tuple[str, ...]] = [(n,) for n in NAMES]
    groups += list(itertools.combinations_with_replacement(NAMES, 2))
    groups += [("cpu30", "cpu95", "send20"), ("write50", "cpu95", "cpu30")]
    groups += [(n,) for n in NAMES]
    cells = []
    for k, members in enumerate(groups):
        rates = []
        for i in range(len(members)):
            others = members[:i] + members[i + 1 :]
            rates.append(100.0 * (1 - drift * k) * np.prod([1 - USED[o] / 2 for o in others]))
        found = tuple(seen(m, inside_loss=0.1 * (len(members) - 1)) for m in members)
        cells.append(Measured(k, members, float(k), tuple(rates), found))
    return cells


def test_every_pair_is_planned_once_with_itself_too_and_controls_all_along() -> None:
    cells = plan(3, is_quick=False)
    names = [w.name for w in WORKLOADS]
    pairs = [tuple(sorted(c.members)) for c in cells if len(c.members) == 2]

    assert len(names) >= 8
    assert sorted(pairs) == sorted(
        tuple(sorted(p))
        for p in itertools.combinations_with_replacement(names, 2)
        if p != ("idle", "idle")
    )
    assert {c.members for c in cells if len(c.members) == 3} == set(TRIPLES)
    for name in names:
        at = [k for k, c in enumerate(cells) if c.members == (name,)]
        assert len(at) >= 4
        assert at[0] < len(names)
        assert at[-1] >= len(cells) - len(names)
    assert plan(3, is_quick=False) == cells
    assert plan(4, is_quick=False) != cells


def test_the_quick_plan_is_a_few_minutes_of_cells() -> None:
    cells = plan(1, is_quick=True)

    assert {m for c in cells for m in c.members} == set(QUICK)
    assert len(cells) * 9 < 240


@pytest.mark.parametrize("is_quick", [True, False])
def test_there_are_guests_for_every_cell_and_no_more(is_quick: bool) -> None:
    cells = plan(1, is_quick)
    needed = guests_needed(cells)

    assert {pool_of(name).vcpus for name in needed} <= {1, 2}
    for pool, size in POOL_SIZE.items():
        assert sum(name.startswith(pool) for name in needed) <= size
    for cell in cells:
        assert len(set(cell.guests)) == len(cell.members)
        for guest, member in zip(cell.guests, cell.members, strict=True):
            assert guest.startswith(BY_NAME[member].pool)


def test_what_was_measured_outlives_the_run_but_not_its_plan(tmp_path: Path) -> None:
    path, cells = tmp_path / "m.cells", a_run()
    notes = Notes.open(path, "plan")
    for cell in cells[:3]:
        unknown = [replace(s, inside_loss=float("nan")) for s in cell.seen]
        notes.add(replace(cell, seen=tuple(unknown)))
    with path.open("a") as file:
        file.write(json.dumps({"index": 3})[:-4])  # killed in the middle of a line

    again = Notes.open(path, "plan")
    assert sorted(again.cells) == [0, 1, 2]
    assert again.cells[1].rates == cells[1].rates
    again.add(cells[3])
    assert sorted(Notes.open(path, "plan").cells) == [0, 1, 2, 3]
    assert Notes.open(path, "other").cells == {}
    assert sorted(Notes.open(path.with_suffix(".old"), "plan").cells) == [0, 1, 2, 3]


def test_another_length_or_workload_is_another_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = plan(1, is_quick=True)
    assert fingerprint(cells, 6.0) == fingerprint(cells, 6.0)
    assert len({fingerprint(cells, 6.0), fingerprint(cells, 7.0), fingerprint(cells[1:], 6.0)}) == 3


def test_slowdown_is_against_the_controls_on_either_side() -> None:
    rows = table(a_run(drift=0.01)).rows
    pairs = [row for row in rows if len(row.partners) == 1]

    assert len(pairs) == 4 * 4, "a workload beside itself is one row"
    for row in pairs:
        assert row.slowdown == pytest.approx(1 / (1 - USED[row.partners[0]] / 2), rel=1e-9)
    assert all(row.control_spread > 0 for row in rows)


def test_cells_of_one_co_run_are_one_row_that_says_how_far_apart_they_were() -> None:
    cells = a_run()
    one = next(c for c in cells if c.members == ("cpu30", "cpu95"))
    again = replace(one, index=len(cells), rates=(one.rates[0] / 2, one.rates[1]))
    rows = {(r.victim, r.partners): r for r in table([*cells, again]).rows}
    row = rows["cpu30", ("cpu95",)]

    speed = 1 - USED["cpu95"] / 2
    assert row.slowdown == pytest.approx(1 / (0.75 * speed))
    assert row.cell_losses == pytest.approx((1 - speed, 1 - speed / 2))
    assert row.cell_spread == pytest.approx(speed / 2 / np.sqrt(2))
    assert np.isnan(rows["cpu30", ("write50",)].cell_spread)


def test_cells_of_the_same_partners_are_one_row_in_whatever_order_they_stand() -> None:
    cells = a_run()
    one = next(c for c in cells if c.members == ("cpu30", "cpu95", "send20"))
    turned = replace(
        one,
        index=len(cells),
        members=("send20", "cpu95", "cpu30"),
        rates=one.rates[::-1],
        seen=one.seen[::-1],
    )
    rows = [row for row in table([*cells, turned]).rows if row.victim == "cpu30"]
    (row,) = (row for row in rows if set(row.partners) == {"cpu95", "send20"})

    assert len(row.cell_losses) == 2
    assert row.cell_losses[0] == pytest.approx(row.cell_losses[1])


def test_what_a_cell_could_not_see_is_taken_from_those_that_could() -> None:
    cells = a_run()
    one = next(c for c in cells if c.members == ("cpu30", "cpu95"))
    blind = tuple(replace(s, inside_loss=float("nan")) for s in one.seen)
    again = replace(one, index=len(cells), seen=blind)
    rows = {(r.victim, r.partners): r.seen.inside_loss for r in table([*cells, again]).rows}
    assert rows["cpu30", ("cpu95",)] == pytest.approx(one.seen[0].inside_loss)

    nobody = [replace(c, seen=blind) if c.members == one.members else c for c in cells]
    rows = {(r.victim, r.partners): r.seen.inside_loss for r in table(nobody).rows}
    assert np.isnan(rows["cpu30", ("cpu95",)])


def test_how_well_a_cell_is_repeated_is_told_in_points_of_loss() -> None:
    cells = [
        replace(
            cell,
            seen=tuple(
                replace(s, loss_cpu=1 - rate / 100)
                for s, rate in zip(cell.seen, cell.rates, strict=True)
            ),
        )
        for cell in a_run()
    ]
    once = [c for c in cells if len(set(c.members)) == len(c.members)]
    assert "cell_spread.points" not in table(once).metrics(), "each was measured once"

    one = next(c for c in once if c.members == ("cpu30", "cpu95"))
    again = replace(one, index=len(cells), rates=tuple(0.9 * rate for rate in one.rates))
    apart = (1 - 0.9) * np.array([1 - USED["cpu95"] / 2, 1 - USED["cpu30"] / 2])
    told = table([*once, again]).metrics()["cell_spread.points"]
    assert told == pytest.approx(100 * apart.mean() / np.sqrt(2))


def test_repeats_bring_controls_of_their_own() -> None:
    """Else what drifts meanwhile would be taken for the neighbours' doing."""
    for name in BY_NAME:
        alone = [
            sum(c.members == (name,) for c in plan(1, is_quick=False, repeats=n)) for n in (1, 2, 3)
        ]
        assert alone[0] < alone[1] < alone[2]


def test_repeats_come_one_after_all_others() -> None:
    once, twice = (plan(1, is_quick=False, repeats=n) for n in (1, 2))
    co_runs = [tuple(sorted(c.members)) for c in twice if len(c.members) > 1]

    assert sorted(co_runs[: len(co_runs) // 2]) == sorted(co_runs[len(co_runs) // 2 :])
    assert set(co_runs) == {tuple(sorted(c.members)) for c in once if len(c.members) > 1}


def test_a_workload_without_a_control_is_refused() -> None:
    cells = [c for c in a_run() if c.members != ("cpu30",)]

    with pytest.raises(ValueError, match="never measured alone: cpu30"):
        table(cells)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(table(a_run()).csv())
    found = read_lab_matrix([path])

    assert set(FEATURES) == set(FIELDS)
    assert found.pairs.n == 16
    assert found.beside_first.n == found.beside_second.n == 6
    assert len(found.controls) == 8
    np.testing.assert_allclose(found.controls, 1.0)
    for side in ("victim", "partner"):
        used = found.pairs.column(side, "cpu_used")
        assert used is not None
        np.testing.assert_allclose(used, [USED[n] for n in getattr(found.pairs, side)])
    assert found.beside_first.victim == found.beside_second.victim
    np.testing.assert_array_equal(found.beside_first.slowdown, found.beside_second.slowdown)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("slowdown", "0", "line 10: slowdown is no number above 0"),
        ("victim", "", "line 10: a victim without a name"),
        ("partner", "", "line 10: a second partner without a first"),
        ("partner_solo_iops", "-3", "line 10: partner_solo_iops is negative"),
    ],
)
def test_bad_cells_are_refused_with_their_line(
    tmp_path: Path, column: str, value: str, told: str
) -> None:
    lines = table(a_run()).csv().splitlines()
    head, cells = lines[0].split(","), lines[9].split(",")
    cells[head.index(column)] = value
    if column == "partner":
        cells[head.index("partner_2")] = "cpu30"
    lines[9] = ",".join(cells)
    path = tmp_path / "m.csv"
    path.write_text("\n".join(lines))

    with pytest.raises(TraceInvalid, match=told):
        read_lab_matrix([path])


def test_triples_tell_who_is_named_first_and_whether_hazards_add_up(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(table(a_run()).csv())
    matrix = read_lab_matrix([path])
    all_models = models(Facing.WORKLOAD, Scale.SLOWDOWN, matrix.pairs, 1.0)
    found = {
        name: judge_triples([path], [("", all_models[name].fit(matrix.pairs, 1))])
        for name in ("physics-traits", "constant")
    }

    assert found["physics-traits"]["culprit_first"] == 1.0
    assert found["physics-traits"]["triples.mae.loss"] < 3.0
    assert found["constant"]["culprit_first"] == 0.0, "who names nobody names nobody first"
    assert judge_triples([path], [("swap40", all_models["constant"].fit(matrix.pairs, 1))]) == {}
