"""Days in fast motion: the story, its history, and what counts as foreseen."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.resources import CPU_AXIS
from evenkeel.lab.bursts_story import (
    APART_S,
    BURST_S,
    DAY_S,
    SLOT_S,
    Actor,
    Habit,
    crowd,
    day_starts,
    event_starts,
    judged,
    rollups,
)

BEGIN_S = 1_000 * DAY_S


def test_a_day_repeats_itself_and_events_do_not():
    by_day = day_starts(BEGIN_S, BEGIN_S + 5 * DAY_S, [100.0, 700.0])
    assert len(by_day) == 10
    np.testing.assert_allclose(np.diff(by_day[::2]), DAY_S)
    events = event_starts(BEGIN_S, BEGIN_S + 5 * DAY_S, by_day, np.random.default_rng(1))
    apart = np.abs(np.subtract.outer(events, [*by_day, *events]))
    assert np.sort(apart, axis=1)[:, 1].min() >= APART_S, "[0] is the event itself"
    assert np.std(np.diff(events)) > 60
    assert all(at % SLOT_S == 0 for at in events)


def test_history_is_what_the_actors_want():
    actor = Actor("a", Habit.DIURNAL, 0.1, 0.9, (BEGIN_S + 50.0,))
    slots = list(rollups([actor], BEGIN_S, BEGIN_S + 300, seed=1))
    assert [r.slot_s for r in slots] == list(range(int(BEGIN_S), int(BEGIN_S) + 300, SLOT_S))
    cpu = np.array([r.demand[0, CPU_AXIS] for r in slots])
    bursts = (cpu > 0.5).sum() * SLOT_S
    assert bursts == BURST_S
    assert np.isnan(slots[0].demand[0, CPU_AXIS + 1 :]).all()


def test_a_crowd_has_all_habits():
    found = crowd(BEGIN_S, BEGIN_S + DAY_S, (BEGIN_S + 400.0,), seed=1)
    assert {a.habit for a in found} == set(Habit)
    assert all(a.starts_s for a in found if a.habit is not Habit.STEADY)


def story(ahead, present, losses):
    return judged("h", Habit.EVENT, 1000.0, losses, ahead, present, 20.0, 100.0)


def test_lead_is_the_time_from_score_to_loss():
    losses = [(990.0, 0.0), (1005.0, 0.1), (1010.0, 0.3)]
    found = story([(900.0, 0.0), (950.0, 30.0)], [(900.0, 0.0), (1015.0, 30.0)], losses)
    assert found is not None
    assert found.lead_s == pytest.approx(60.0)
    assert found.present_lead_s == pytest.approx(-5.0)


def test_a_score_that_is_always_up_is_no_warning():
    found = story([(900.0, 50.0), (950.0, 50.0)], [], [(1010.0, 0.3)])
    assert found is not None
    assert found.lead_s is None


def test_a_burst_without_loss_is_no_case():
    assert story([(950.0, 30.0)], [], [(1010.0, 0.1)]) is None
