"""What every History must do. Subclasses say how to open one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.history_data import DAY_S, STEP_S, T0, a_rollup

from evenkeel.domain.resources import Resource
from evenkeel.ports_history import History


def span(n_slots: int) -> tuple[int, int]:
    return T0, T0 + n_slots * STEP_S


class HistoryContract:
    def test_a_panel_holds_what_was_appended_and_nan_elsewhere(self, history: History) -> None:
        history.append(a_rollup(0, {"a": 1.0, "b": 2.0}))
        history.append(a_rollup(2, {"b": 3.0, "c": 4.0}, censored=0.5, kind="bank/2x64MiB"))
        panel = history.panel(Resource.CPU, *span(4))
        rows = dict(zip(panel.ids, panel.values.tolist(), strict=True))
        nan = np.nan
        expected = {"a": [1, nan, nan, nan], "b": [2, nan, 3, nan], "c": [nan, nan, 4, nan]}
        assert rows.keys() == expected.keys()
        for vm, row in expected.items():
            np.testing.assert_equal(rows[vm], row)
        assert (panel.start_s, panel.step_s, panel.end_s) == (T0, STEP_S, T0 + 4 * STEP_S)
        b = panel.ids.index("b")
        assert panel.kinds[b] == "bank/2x64MiB"
        assert panel.capacity[b] == 4.0
        assert panel.censored is not None
        assert panel.censored[b].tolist() == [False, False, True, False]

    @pytest.mark.parametrize(
        ("resource", "factor"), [(Resource.MEMORY, 100), (Resource.NET, 10), (Resource.IOPS, 5)]
    )
    def test_each_resource_has_its_own_numbers(
        self, history: History, resource: Resource, factor: float
    ) -> None:
        history.append(a_rollup(0, {"a": 1.5}))
        panel = history.panel(resource, *span(1))
        assert panel.resource is resource
        assert panel.values.tolist() == [[1.5 * factor]]
        assert np.isnan(panel.capacity[0]) == (resource in (Resource.NET, Resource.IOPS))

    def test_appending_again_changes_nothing(self, history: History) -> None:
        for _ in range(3):
            history.append(a_rollup(1))
        assert list(history.slots(*span(10))) == [T0 + STEP_S]
        assert history.panel(Resource.CPU, *span(2)).values[:, 1].tolist() == [1.0, 2.0]

    def test_of_a_slot_that_is_rolled_up_again_each_vm_keeps_the_row_with_more_ticks(
        self, history: History
    ) -> None:
        history.append(a_rollup(0, {"a": 1.0, "b": 1.0}, n_ticks=60))
        later = T0 + 9000.0
        history.append(a_rollup(0, {"b": 2.0, "c": 2.0}, n_ticks=10, rolled_at_s=later))
        panel = history.panel(Resource.CPU, *span(1))
        assert dict(zip(panel.ids, panel.values[:, 0], strict=True)) == {"a": 1, "b": 1, "c": 2}
        assert history.slots(*span(1)) == {T0: later}
        history.append(a_rollup(0, {"b": 3.0}, n_ticks=61))
        panel = history.panel(Resource.CPU, *span(1))
        assert dict(zip(panel.ids, panel.values[:, 0], strict=True)) == {"a": 1, "b": 3, "c": 2}

    def test_a_panel_may_be_of_some_vms(self, history: History) -> None:
        history.append(a_rollup(0, {"a": 1.0, "b": 2.0}))
        panel = history.panel(Resource.CPU, *span(1), vms=["b", "unknown"])
        assert panel.ids == ("b",)
        assert panel.values.tolist() == [[2.0]]

    def test_nothing_known_is_an_empty_panel(self, history: History) -> None:
        panel = history.panel(Resource.CPU, *span(3))
        assert panel.values.shape == (0, 3)
        history.append(a_rollup(0, {}))
        assert list(history.slots(*span(1))) == [T0]
        assert history.panel(Resource.CPU, *span(3)).values.shape == (0, 3)

    def test_a_range_is_of_whole_slots(self, history: History) -> None:
        with pytest.raises(ValueError, match=r"slots"):
            history.panel(Resource.CPU, T0 + 1, T0 + STEP_S)

    def test_tidying_changes_no_panel_and_forgets_old_days(self, history: History) -> None:
        per_day = DAY_S // STEP_S
        slots = [0, 1, 5, 13, per_day - 1, per_day, per_day + 1, per_day + 12, 2 * per_day]
        for slot in slots:
            history.append(a_rollup(slot, {"a": 1.0 + slot, "b": 2.0}))
        ends = span(3 * per_day)
        before = history.panel(Resource.CPU, *ends)
        kept = dict(history.slots(*ends))
        for hours in (1, 2, 24, 25, 48, 49, 72):
            history.tidy(T0 + hours * 3600, T0 - DAY_S)
            after = history.panel(Resource.CPU, *ends, vms=before.ids)
            assert history.slots(*ends) == kept
            np.testing.assert_equal(
                after.values[np.argsort(after.ids)], before.values[np.argsort(before.ids)]
            )
        history.tidy(T0 + 3 * DAY_S, T0 + DAY_S)
        assert min(history.slots(*ends)) == T0 + DAY_S
        assert np.isnan(history.panel(Resource.CPU, *ends).values[:, :per_day]).all()

    def test_a_late_slot_after_tidying_holds(self, history: History) -> None:
        for slot in range(14):
            history.append(a_rollup(slot, {"a": 1.0}))
        history.tidy(T0 + 3600, T0 - DAY_S)
        history.append(a_rollup(3, {"a": 7.0, "late": 1.0}, n_ticks=70))
        for until_s in (T0 + 3600, T0 + 2 * DAY_S):
            row = history.panel(Resource.CPU, *span(14), vms=["a"]).values[0]
            assert row.tolist() == [1.0] * 3 + [7.0] + [1.0] * 10
            history.tidy(until_s, T0 - DAY_S)
        assert "late" in history.panel(Resource.CPU, *span(14)).ids

    def test_whole_slots_come_back_as_they_were(self, history: History) -> None:
        made = [
            a_rollup(slot, {"b": 1.0 + slot, "a": 0.1}, host=f"h{slot % 3}", censored=0.25)
            for slot in (0, 1, 2, 13, 14)
        ]
        for rollup in made:
            history.append(rollup)
        for until_s in (T0, T0 + 3600, T0 + DAY_S, T0 + 2 * DAY_S):
            history.tidy(until_s, T0 - DAY_S)
            found = history.rollups(T0 + STEP_S, T0 + 14 * STEP_S)
            assert [each.slot_s for each in found] == [T0 + k * STEP_S for k in (1, 2, 13)]
            for each, expected in zip(found, made[1:4], strict=True):
                rows = [each.ids.index(vm) for vm in expected.ids]
                assert [each.hosts[k] for k in rows] == list(expected.hosts)
                assert [each.kinds[k] for k in rows] == list(expected.kinds)
                assert each.rolled_at_s == expected.rolled_at_s
                for name in ("n_ticks", "demand", "peak", "loss", "censored", "capacity"):
                    np.testing.assert_array_equal(
                        getattr(each, name)[rows], getattr(expected, name)
                    )
        assert history.rollups(T0 + DAY_S, T0 + 2 * DAY_S) == []

    def test_of_a_slot_that_is_rolled_up_again_a_vm_is_where_most_ticks_say(
        self, history: History
    ) -> None:
        history.append(a_rollup(0, {"a": 1.0, "b": 1.0}, n_ticks=60, host="h1"))
        history.append(a_rollup(0, {"b": 2.0, "c": 2.0}, n_ticks=10, host="h2"))
        (found,) = history.rollups(*span(1))
        assert dict(zip(found.ids, found.hosts, strict=True)) == {"a": "h1", "b": "h1", "c": "h2"}
