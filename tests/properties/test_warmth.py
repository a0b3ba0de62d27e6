"""Whatever happened, the warm history shows what a plain read of the source shows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.history_data import STEP_S, T0, MemoryHistory, a_rollup

from evenkeel.controller.warmth import PRESENT_SLOTS, WarmPanels
from evenkeel.domain.errors import HistoryUnavailable
from evenkeel.domain.panel import Calendar, Panel
from evenkeel.domain.resources import Resource

CPU = Resource.CPU
N_SLOTS = 14
CALENDAR = Calendar("Europe/Berlin")
VMS = tuple(f"vm{k}" for k in range(6))

demands = st.dictionaries(
    st.sampled_from(VMS), st.one_of(st.just(float("nan")), st.floats(0, 64, width=32)), max_size=6
)
steps = st.one_of(
    st.tuples(st.just("slot"), demands),
    st.tuples(st.just("slot"), demands),
    st.tuples(st.just("late"), st.integers(1, N_SLOTS + 2), demands),
    st.tuples(st.just("jump"), st.integers(-3 * N_SLOTS, 3 * N_SLOTS)),
    st.tuples(st.just("jump"), st.integers(1, 4)),
    st.tuples(st.just("failure"), st.integers(0, 2)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("read")),
)


class Source(MemoryHistory):
    """Fails at the read that `fails_in` counts down to."""

    fails_in = -1

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        self.fails_in -= 1
        if self.fails_in == -1:
            raise HistoryUnavailable("not now")
        return super().panel(resource, start_s, end_s, vms)

    def tell(self, slot: int, demand: dict[str, float], n_ticks: int) -> None:
        """VMs are resized, and held back, now and then."""
        made = a_rollup(
            slot,
            demand,
            n_ticks=n_ticks,
            censored=float(slot % 3 == 0),
            rolled_at_s=T0 + n_ticks,
            kind=f"shop/{slot // 5}",
        )
        size = np.full_like(made.capacity, 2.0 + slot // 5)
        self.append(replace(made, capacity=size))


def warm(source: Source, stamps: bool) -> WarmPanels:
    return WarmPanels(source, CPU, STEP_S, N_SLOTS, CALENDAR, source.slots if stamps else None)


def differences(source: Source, panels: WarmPanels, now: int) -> list[str]:
    """Between what is held in memory and a plain read of the source, in words."""
    end_s = T0 + now * STEP_S
    plain = source.panel(CPU, end_s - N_SLOTS * STEP_S, end_s)
    plain = plain.only((~np.isnan(plain.values[:, -PRESENT_SLOTS:])).any(axis=1))
    fleet = panels.advance(end_s)
    got = fleet.panel(slice(None))
    at = {vm: i for i, vm in enumerate(got.ids)}
    if sorted(at) != sorted(plain.ids):
        return [f"VMs: {sorted(at)}, not {sorted(plain.ids)}"]
    got = got.only(np.array([at[vm] for vm in plain.ids], dtype=np.intp))
    known = ~np.isnan(plain.values)
    few, whole = fleet.panel(slice(0, 2), 3), fleet.panel(slice(0, 2))
    same = {
        "grid": (got.start_s, got.step_s, got.resource) == (plain.start_s, plain.step_s, CPU),
        "kinds": got.kinds == plain.kinds,
        "calendar": got.calendar is CALENDAR,
        "capacity": np.array_equal(got.capacity, plain.capacity, equal_nan=True),
        "censored": np.array_equal(got.censored & known, plain.censored & known),
        "values": np.allclose(got.values, plain.values, rtol=2**-11, atol=1e-5, equal_nan=True),
        "the latest few": np.array_equal(few.values, whole.values[:, -3:], equal_nan=True),
        "end of the latest few": few.end_s == plain.end_s,
    }
    return [what for what, is_same in same.items() if not is_same]


@settings(max_examples=300)
@given(st.booleans(), st.lists(steps, max_size=30))
def test_it_is_what_a_plain_read_would_be(stamps, walk):
    source, now, n_ticks = Source(), 0, 1
    panels = warm(source, stamps)
    for kind, *told in walk:
        n_ticks += 1
        if kind == "slot":
            source.tell(now, told[0], n_ticks)
            now += 1
        elif kind == "late":
            # A source that cannot tell what changed may be late by a quarter of an hour.
            back = told[0] if stamps else min(told[0], PRESENT_SLOTS - 1)
            source.tell(now - back, told[1], n_ticks)
        elif kind == "jump":
            now += told[0]
        elif kind == "failure":
            source.fails_in = told[0]
            with contextlib.suppress(HistoryUnavailable):
                panels.advance(T0 + now * STEP_S)
            source.fails_in = -1
        elif kind == "restart":
            panels = warm(source, stamps)
        if not stamps or kind == "read":
            assert differences(source, panels, now) == []
    assert differences(source, panels, now) == []


def count_reads(source: Source, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """How many slots each read since the last question covered."""
    reads: list[int] = []
    plain = source.panel

    def counted(resource, start_s, end_s, vms=None):
        reads.append((end_s - start_s) // STEP_S)
        return plain(resource, start_s, end_s, vms)

    monkeypatch.setattr(source, "panel", counted)

    def asked() -> list[int]:
        told, reads[:] = list(reads), []
        return told

    return asked


@pytest.mark.parametrize("stamps", [True, False])
def test_only_what_is_new_is_read(stamps, monkeypatch):
    source = Source()
    for slot in range(40):
        source.tell(slot, {"a": 1.0, "b": slot}, 1)
    reads = count_reads(source, monkeypatch)
    panels = warm(source, stamps)
    panels.advance(T0 + 39 * STEP_S)
    assert reads() == [N_SLOTS - PRESENT_SLOTS, PRESENT_SLOTS]
    panels.advance(T0 + 40 * STEP_S)
    assert reads() == [PRESENT_SLOTS]
    source.tell(30, {"c": 5.0}, 9)
    panels.advance(T0 + 40 * STEP_S)
    assert reads() == ([1, PRESENT_SLOTS] if stamps else [PRESENT_SLOTS])


def test_the_past_of_a_vm_that_the_source_did_not_show_before_is_taken_in():
    source = Source()
    for slot in range(20):
        source.tell(slot, {"a": 1.0}, 1)
    panels = warm(source, stamps=False)
    panels.advance(T0 + 20 * STEP_S)
    for slot in range(10, 21):
        source.tell(slot, {"a": 1.0, "moved": slot}, 2)
    assert differences(source, panels, 21) == []


def test_rows_of_vms_that_are_gone_for_good_are_used_again():
    source = Source()
    panels = warm(source, stamps=True)
    for slot in range(300):
        source.tell(slot, {f"vm{slot // 4}": 3.0, "a": 1.0}, 1)
        assert differences(source, panels, slot + 1) == []
    assert len(panels._history._codes) <= N_SLOTS // 4 + 4
