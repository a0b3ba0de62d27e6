"""What the agent tells of pairs that deviate: once, and never more than a handful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.agent.watching import MOST_TOLD, ReliabilityLog, Watch, told
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.resources import CPU_AXIS, Resource
from evenkeel.domain.score import PairDeviation
from evenkeel.interference.contention import score_host

A, B = a_vm("a", [0]), a_vm("b", [0])
TICK = a_tick(1_800_000_000.0, [A, B], [1.0, 1.0], [0.5, 0.5])
NAMES = {A.id: "a", B.id: "b"}
ODD = PairDeviation(A.id, B.id, Resource.CPU, 0.05, 0.31, 1_800_000_000.0, 9, 5.0)


def kinds(before, now):
    return [event.kind for event in told(before, now, NAMES, TICK)]


def test_a_deviation_is_told_when_it_begins_and_when_it_ends():
    assert kinds((), (ODD,)) == ["pair_deviates"]
    assert kinds((ODD,), (replace(ODD, n_minutes=10),)) == []
    assert kinds((ODD,), ()) == ["pair_deviates_no_more"]


def test_it_says_who_what_how_much_and_since_when():
    (event,) = told((), (ODD,), NAMES, TICK)
    assert event.message == (
        "b costs a more CPU than predicted (31 % measured, 5 % predicted, since 08:00Z)"
    )
    assert (event.vm, event.host, event.detail["aggressor"]) == (A.id, TICK.host.id, B.id)
    less = replace(ODD, measured_loss=0.0)
    assert "costs a less CPU" in told((), (less,), NAMES, TICK)[0].message
    host = replace(ODD, aggressor=HOST_ITSELF)
    assert "the host costs a more CPU" in told((), (host,), NAMES, TICK)[0].message
    nobody = replace(ODD, aggressor=NOBODY)
    assert "no neighbour can be named" in told((), (nobody,), NAMES, TICK)[0].message


def test_many_at_once_are_told_in_one_event():
    many = [replace(ODD, victim=VmId(f"v{k}")) for k in range(MOST_TOLD + 1)]
    assert kinds((), many) == ["pairs_deviate"]
    assert kinds(many, ()) == ["pairs_deviate_no_more"]
    (event,) = told((), many, NAMES, TICK)
    assert event.detail == {"n_pairs": MOST_TOLD + 1}
    assert kinds((), many[:MOST_TOLD]) == ["pair_deviates"] * MOST_TOLD


def ticks(n: int, interval_s: float = 5.0):
    return [
        a_tick(interval_s * k, [A, B], [0.9, 1.0], [0.47, 0.47], interval_s=interval_s)
        for k in range(n)
    ]


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 10.0])
def test_a_minute_of_counts_whatever_the_length_of_a_tick(interval_s):
    log, contention = ReliabilityLog(), score_host(a_window(ticks(12)), a_host(), 7.5)
    ahead = replace(contention, horizon_s=60.0)
    sent = []
    for tick in ticks(round(180 / interval_s), interval_s):
        sent += log.observe(tick)
        log.foretell((contention, ahead))
    by_horizon = {h: sum(sum(t.n) for t in sent if t.horizon_s == h) for h in (5.0, 60.0)}
    # Two VMs; a prediction each horizon, but for the first, which nothing was foretold for.
    expected = 2 * 180 / max(5.0, interval_s)
    assert by_horizon[5.0] == pytest.approx(expected, abs=4)
    assert by_horizon[60.0] in (2 * 2, 2 * 3)
    assert {t.resource for t in sent} == {Resource.CPU}


def test_after_a_clock_jump_nothing_older_is_judged():
    watch, window = Watch(), a_window(ticks(12))
    contention = score_host(window, a_host(), 7.5)
    watch.observe(ticks(13)[-1], contention)
    watch.forget()
    for tick in ticks(24):
        seen = watch.observe(tick, contention)
        if tick.taken_at_s == 0.0:
            assert watch.reliability.totals == {}
        assert seen.events == ()
    assert watch.reliability.totals[5.0][0, CPU_AXIS].sum() == 2 * 23
    assert np.isfinite(watch.reliability.totals[5.0]).all()
