"""Pairs alarm when their physics is wrong, and never on noise, gaps or one collision."""

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm

from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES, Resource
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.pair_losses import attributed
from evenkeel.interference.pair_watch import CALM_MINUTES, MOST_WATCHED, PairWatch

A, B, C = a_vm("a", [0]), a_vm("b", [0]), a_vm("c", [1])
VMS = (A, B, C)


def a_map(scores: dict[tuple[int, int], float], vms=VMS) -> ContentionMap:
    """CPU scores by (victim, who); who 3 is the host and 4 the victim itself."""
    n = len(vms)
    score = np.zeros((N_RESOURCES, n, n + 2))
    for (i, j), value in scores.items():
        score[CPU_AXIS, i, j] = value
    flat = score.sum(axis=2) / 100
    return ContentionMap(
        a_host(), 0.0, vms, score, (flat > 0) * 1.0, flat, flat, flat * 0 + 1, 60.0, 12
    )


def watched(watch, minutes, scores, loss, vms=VMS, began_s=0.0):
    """`loss` is a share for each VM, or gives it for a tick's number."""
    for k in range(int(minutes * 12)):
        losses = loss(k) if callable(loss) else loss
        tick = a_tick(began_s + 5.0 * (k + 1), vms, [1.0] * len(vms), losses)
        contention = a_map(scores, vms)
        watch = watch.then(contention, tick, contention)
    return watch


@pytest.fixture
def watch() -> PairWatch:
    return PairWatch.for_vms(tuple(vm.id for vm in VMS))


def test_loss_is_put_down_in_the_proportions_of_the_scores():
    contention = a_map({(0, 1): 30.0, (0, 3): 10.0, (0, 4): 10.0})
    tick = a_tick(5, VMS, [1, 1, 1], [0.8, 0.2, 0])
    predicted, measured = list(attributed(contention, tick, contention))[CPU_AXIS]
    assert predicted[0].tolist() == pytest.approx([0, 0.3, 0, 0.1, 0])
    assert measured[0].tolist() == pytest.approx([0, 0.48, 0, 0.16, 0])
    assert measured[1].tolist() == pytest.approx([0, 0, 0, 0, 0.2])  # nobody's


def test_a_pair_that_costs_more_than_predicted_is_told_within_minutes(watch):
    watch = watched(watch, 30, {(0, 1): 20.0}, [0.2, 0, 0])
    assert watch.standing(5.0) == ()
    watch = watched(watch, 12, {(0, 1): 20.0}, [0.5, 0, 0], began_s=1800)
    (one,) = watch.standing(5.0)
    assert (one.victim, one.aggressor, one.resource) == (A.id, B.id, Resource.CPU)
    assert one.predicted_loss == pytest.approx(0.2, abs=0.01)
    assert one.measured_loss == pytest.approx(0.5, abs=0.01)
    assert one.since_s == pytest.approx(1800, abs=60)


def test_so_is_one_that_costs_less_and_one_that_is_nobodys_or_the_hosts(watch):
    scores = {(0, 1): 40.0, (2, 3): 5.0}
    watch = watched(watch, 15, scores, [0.1, 0.3, 0.5])
    found = {(d.victim, d.aggressor): d.measured_loss - d.predicted_loss for d in watch.standing(5)}
    assert found == {
        (A.id, B.id): pytest.approx(-0.3, abs=0.01),
        (B.id, NOBODY): pytest.approx(0.3, abs=0.01),
        (C.id, HOST_ITSELF): pytest.approx(0.45, abs=0.01),
    }


def test_what_is_tolerated_never_adds_up(watch):
    watch = watched(watch, 240, {(0, 1): 20.0}, [0.245, 0, 0])
    assert watch.standing(5.0) == ()


def test_one_collision_that_was_not_foreseen_is_no_deviation(watch):
    watch = watched(watch, 10, {}, lambda k: [0.9 if 40 <= k < 46 else 0.0, 0, 0])
    assert watch.standing(5.0) == ()


def test_it_is_over_after_quiet_minutes_on_end_and_can_be_told_again(watch):
    watch = watched(watch, 15, {(0, 1): 20.0}, [0.5, 0, 0])
    assert len(watch.standing(5.0)) == 1
    watch = watched(watch, CALM_MINUTES - 1, {(0, 1): 20.0}, [0.2, 0, 0])
    watch = watched(watch, 1, {(0, 1): 20.0}, [0.5, 0, 0])  # one bad minute starts the count anew
    watch = watched(watch, CALM_MINUTES - 1, {(0, 1): 20.0}, [0.2, 0, 0])
    assert len(watch.standing(5.0)) == 1
    watch = watched(watch, 1, {(0, 1): 20.0}, [0.2, 0, 0])
    assert watch.standing(5.0) == ()
    watch = watched(watch, 25, {(0, 1): 20.0}, [0.5, 0, 0])
    assert len(watch.standing(5.0)) == 1


def test_what_is_not_known_never_deviates(watch):
    nan = float("nan")
    flawed = watched(watch, 60, {(0, 1): 20.0}, [nan, nan, nan])
    assert flawed.standing(5.0) == ()
    mostly = watched(watch, 60, {(0, 1): 20.0}, lambda k: [0.9 if k % 12 < 5 else nan, 0, 0])
    assert mostly.standing(5.0) == ()
    assert watched(watch, 60, {(0, 1): nan}, [0.9, 0, 0]).standing(5.0) == ()


def test_an_aggressor_that_is_not_measured_is_not_accused(watch):
    contention = a_map({(0, 1): 20.0})
    for k in range(240):
        tick = a_tick(5.0 * k, VMS, [1.0, 1.0, 1.0], [0.8, 0, 0])
        tick.demand[1, CPU_AXIS] = np.nan
        watch = watch.then(contention, tick, contention)
    assert watch.standing(5.0) == ()


def test_vms_that_come_and_go_leave_the_others_as_they_were(watch):
    watch = watched(watch, 15, {(0, 1): 20.0}, [0.5, 0, 0])
    new = a_vm("new", [1])
    fewer = watched(watch, 0.5, {(2, 1): 20.0}, [0, 0, 0.5], (new, B, A), began_s=900)
    (one,) = fewer.standing(5.0)
    assert (one.victim, one.aggressor) == (A.id, B.id)
    gone = watched(fewer, 0.5, {}, [0, 0], (new, A), began_s=930)
    assert gone.standing(5.0) == ()
    empty = watched(gone, 1, {}, [], (), began_s=960)
    assert empty.standing(5.0) == ()
    assert empty.vms == ()


def test_pairs_that_cost_nothing_are_not_kept(watch):
    watch = watched(watch, 3, {(0, 1): 20.0}, [0.2, 0, 0])
    assert len(watch.code) == 1
    watch = watched(watch, 1.5, {}, [0, 0, 0], began_s=180)
    assert len(watch.code) == 0


def test_a_pair_that_comes_in_the_middle_of_a_minute_had_cost_nothing_before(watch):
    watch = watched(watch, 1, {}, lambda k: [0.9 if k == 11 else 0.0, 0, 0])
    late = watched(watch, 1, {}, lambda k: [0.9 if k < 1 else 0.0, 0, 0], began_s=60)
    for state in (watch, late):
        assert state.sums.measured.max(initial=0.0) <= 2 * 0.9 / 12 + 1e-9


def test_a_host_never_keeps_more_than_its_share_of_pairs():
    n = 60
    vms = tuple(a_vm(f"v{i}", [0]) for i in range(n))
    everyone = {(i, j): 5.0 for i in range(n) for j in range(n) if i != j}
    watch = watched(PairWatch.for_vms(tuple(v.id for v in vms)), 2, everyone, [0.5] * n, vms)
    assert len(everyone) > MOST_WATCHED
    assert len(watch.code) == MOST_WATCHED
    assert (np.diff(watch.code) > 0).all()


def test_false_alarms_stay_below_the_stated_rate():
    """One in 1000 pair-hours, with errors of neighbouring ticks as alike as .7."""
    rng = np.random.default_rng(11)
    vms = tuple(VmId(f"vm{i}") for i in range(20))
    watch = PairWatch.for_vms(vms).joined(np.arange(N_RESOURCES * 20 * 22))
    shape = watch.alarm.shape
    predicted = 0.3 + 0.4 * rng.random(shape)
    state, n_alarms, hours = np.zeros(shape), 0, 9
    for _ in range(60 * hours):
        total = np.zeros(shape)
        for _ in range(12):
            state = 0.7 * state + 0.15 * np.sqrt(1 - 0.49) * rng.standard_normal(shape)
            total += np.clip(predicted + state, 0, 1)
        before = watch.alarm
        watch = watch.judged(predicted, total / 12, np.ones(shape, dtype=bool), 0.0)
        n_alarms += int(((watch.alarm != 0) & (before == 0)).sum())
    pair_hours = predicted.size * hours
    assert pair_hours > 14_000
    assert n_alarms <= 0.001 * pair_hours + 2 * np.sqrt(0.001 * pair_hours)
