"""Profiles are looked at anew each hour, and remember what they said."""

from __future__ import annotations

import numpy as np

from evenkeel.controller.profiling import PROFILE_DAYS, PROFILE_EVERY_S, Profiler
from evenkeel.domain.panel import Panel
from evenkeel.domain.profile import Behaviour
from evenkeel.domain.resources import Resource

SLOTS = 7 * 288


def panel(*ids: str, until_s: float = SLOTS * 300.0) -> Panel:
    """Daily spikes at 09-11, four hundredfold of a quiet base."""
    rng = np.random.default_rng(1)
    hour = np.arange(SLOTS) % 288 / 12
    values = np.where((hour >= 9) & (hour < 11), 4.0, 0.2) * rng.normal(1, 0.05, (len(ids), SLOTS))
    return Panel(ids, values.astype(np.float32), until_s - SLOTS * 300.0, Resource.CPU)


def test_a_daily_vm_is_told_by_id_or_name():
    profiler = Profiler()
    profiler.learn(Resource.CPU, [panel("id-a", "b")])
    found = profiler.of("id-a", "a")[Resource.CPU]
    assert found.label is Behaviour.DIURNAL
    assert set(found.peak_hours) >= {9, 10}
    assert profiler.of("id-b", "b")[Resource.CPU].label is Behaviour.DIURNAL
    assert profiler.of("id-c", None) == {}


def test_it_is_due_each_hour_and_when_the_clock_went_back():
    profiler = Profiler()
    end_s = SLOTS * 300.0
    assert profiler.due(Resource.CPU, end_s)
    profiler.learn(Resource.CPU, [panel("a")])
    assert not profiler.due(Resource.CPU, end_s + PROFILE_EVERY_S - 300)
    assert profiler.due(Resource.CPU, end_s + PROFILE_EVERY_S)
    assert profiler.due(Resource.CPU, end_s - 300)
    assert profiler.due(Resource.MEMORY, end_s)
    assert profiler.span_s(end_s, 300) == int(end_s - PROFILE_DAYS * 86400)


def test_vms_that_come_and_go_keep_their_own_labels():
    profiler = Profiler()
    profiler.learn(Resource.CPU, [panel("a"), panel("b")])
    profiler.learn(Resource.CPU, [panel("new", "b", until_s=SLOTS * 300.0 + 3600)])
    assert profiler.of("a", None) == {}
    assert profiler.of("b", None)[Resource.CPU].label is Behaviour.DIURNAL
    profiler.learn(Resource.CPU, [panel()])
    profiler.learn(Resource.CPU, [panel("b")])
    assert profiler.of("b", None)[Resource.CPU].label is Behaviour.DIURNAL
