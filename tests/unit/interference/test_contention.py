"""Scores: directed, additive, calm in quiet, and named by who changed."""

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.interference.contention import score_host

VICTIM, NOISY, CALM = a_vm("victim", [0]), a_vm("noisy", [0]), a_vm("calm", [1])
VMS = [VICTIM, NOISY, CALM]


def quiet_then_noisy(n_noisy: int, interval_s: float = 5.0):
    quiet = [
        a_tick(interval_s * i, VMS, [0.9, 0.05, 0.3], interval_s=interval_s) for i in range(24)
    ]
    loud = [
        a_tick(interval_s * (24 + i), VMS, [0.95, 1.0, 0.3], [0.5, 0.5, 0], interval_s=interval_s)
        for i in range(n_noisy)
    ]
    return a_window(quiet + loud)


def test_nothing_scores_in_quiet():
    assert score_host(quiet_then_noisy(0), a_host(), 7.5).pairs(10) == ()


def test_the_one_that_changed_is_named_first_within_ten_seconds():
    pairs = score_host(quiet_then_noisy(2), a_host(), 7.5).pairs()
    assert (pairs[0].victim, pairs[0].aggressor) == (VICTIM.id, NOISY.id)
    assert pairs[0].score >= 20
    back = [p.score for p in pairs if (p.victim, p.aggressor) == (NOISY.id, VICTIM.id)]
    assert not back or back[0] < pairs[0].score / 1.5


def test_a_lasting_collision_settles_near_the_measured_loss():
    scored = score_host(quiet_then_noisy(12), a_host(), 7.5)
    assert scored.predicted[CPU_AXIS, 0] == pytest.approx(0.5, abs=0.03)
    assert scored.measured[CPU_AXIS, 0] == pytest.approx(0.5, abs=0.03)
    assert scored.pairs()[0].confidence > 0.85


def test_attributions_add_up_to_the_loss():
    scored = score_host(quiet_then_noisy(4), a_host(), 7.5)
    total = scored.score[CPU_AXIS].sum(axis=1)
    assert total == pytest.approx(100 * scored.predicted[CPU_AXIS], abs=1e-9)


def test_load_outside_all_vms_is_the_hosts_and_no_neighbours():
    quiet = [a_tick(5.0 * i, VMS, [0.9, 0.02, 0.05]) for i in range(24)]
    busy = [
        a_tick(120 + 5.0 * i, VMS, [0.9, 0.02, 0.05], [0.4, 0, 0], background=2.0) for i in range(4)
    ]
    top = score_host(a_window(quiet + busy), a_host(), 7.5).pairs()[0]
    assert (top.victim, top.aggressor) == (VICTIM.id, HOST_ITSELF)


def test_confidence_falls_where_measurement_disagrees():
    agrees = score_host(quiet_then_noisy(6), a_host(), 7.5)
    quiet = [a_tick(5.0 * i, VMS, [0.9, 0.05, 0.3]) for i in range(24)]
    unhurt = [a_tick(120 + 5.0 * i, VMS, [0.95, 1.0, 0.3], [0, 0, 0]) for i in range(6)]
    differs = score_host(a_window(quiet + unhurt), a_host(), 7.5)
    assert differs.confidence[CPU_AXIS, 0] < 0.3 < agrees.confidence[CPU_AXIS, 0]


def test_an_empty_host_scores_nothing():
    assert score_host(a_window([]), a_host(), 7.5).pairs(0) == ()


def test_the_window_follows_vms_that_come_and_go():
    window = a_window([a_tick(0, VMS, [1, 1, 1]), a_tick(5, [CALM, VICTIM], [0.3, 0.4])])
    assert [vm.name for vm in window.vms] == ["calm", "victim"]
    assert window.demand[:, :, CPU_AXIS].tolist() == [[1, 1], [0.3, 0.4]]


def test_rows_from_before_a_clock_set_back_are_dropped():
    window = a_window([a_tick(1000, VMS, [1, 1, 1]), a_tick(500, VMS, [0, 0, 0])])
    assert window.at_s.tolist() == [500]
    assert np.isfinite(window.weights(7.5)).all()
