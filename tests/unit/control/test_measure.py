"""From counters to demand, usage and loss; what cannot be known is NaN with a reason."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from builders import a_tuning, a_vm, counters, observed

from evenkeel.control.measure import Baselines, derive
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, NET_AXIS
from evenkeel.domain.sample import Flaw
from evenkeel.domain.vm import VmState

VM = a_vm("web")
NONE = Baselines()


def one_tick(before, after, dt_s=5.0, **kw):
    tick, _ = derive(observed(0, before, **kw), observed(dt_s, after, **kw), NONE)
    assert tick is not None
    return tick


def cpu(tick):
    return [float(m[0, CPU_AXIS]) for m in (tick.demand, tick.usage, tick.loss, tick.self_limited)]


def test_cpu_demand_is_run_plus_delay_and_loss_its_delayed_part():
    tick = one_tick(counters(VM), counters(VM, run_s=2.5, delay_s=2.5))
    assert cpu(tick) == pytest.approx([1.0, 0.5, 0.5, 0.0])


def test_delay_under_a_vms_own_quota_is_its_own():
    """Figures as measured on a real guest at 30 % quota beside a busy neighbour."""
    limited = a_vm("web", tuning=replace(a_tuning(), quota_us=30_000))
    before = counters(limited, throttled_ns=0)
    after = counters(limited, run_s=1.51, delay_s=3.46, throttled_ns=2_000_000_000)
    demand, _, loss, own = cpu(one_tick(before, after))
    assert own == pytest.approx(0.4)
    assert loss == pytest.approx((0.692 - 0.4) / demand, abs=0.01)


def test_at_its_quota_with_nobody_counting_throttling_all_delay_is_its_own():
    limited = a_vm("web", tuning=replace(a_tuning(), quota_us=30_000))
    tick = one_tick(counters(limited), counters(limited, run_s=1.5, delay_s=3.5))
    assert cpu(tick)[2:] == pytest.approx([0.0, 0.7])


@pytest.mark.parametrize(
    ("before", "after", "flaw"),
    [
        (counters(VM, 50), counters(VM, 1, incarnation=2), Flaw.RESET),
        (counters(VM, 50), counters(VM, 1), Flaw.RESET),
        (counters(VM, 0), counters(VM, -1), Flaw.IMPLAUSIBLE),
        (counters(VM, 0), counters(VM, 1, delay_s=-0.1), Flaw.IMPLAUSIBLE),
        (counters(VM, 0), counters(VM, 50), Flaw.IMPLAUSIBLE),
        (counters(VM, 0), counters(VM, 1, delay_s=50), Flaw.IMPLAUSIBLE),
        (counters(VM, 0), counters(VM, 1, net_bytes=float("nan")), Flaw.IMPLAUSIBLE),
        (counters(a_vm("other")), counters(VM, 1), Flaw.NEW),
    ],
)
def test_counters_that_restart_or_lie_yield_nan_and_a_reason(before, after, flaw):
    tick = one_tick(before, after)
    assert flaw in tick.flaws[0]
    assert np.isnan(tick.demand[0, [CPU_AXIS, NET_AXIS, IOPS_AXIS]]).all()
    assert np.isnan(tick.loss[0, CPU_AXIS])


def test_one_lying_vm_spoils_nobody_else():
    good, bad = a_vm("good"), a_vm("bad")
    before = observed(0, counters(bad), counters(good))
    tick, _ = derive(before, observed(5, counters(bad, -3), counters(good, 2.5)), NONE)
    assert tick.usage[1, CPU_AXIS] == pytest.approx(0.5)
    assert Flaw.IMPLAUSIBLE not in tick.flaws[1]


def test_without_delay_demand_is_censored_and_loss_unknown():
    tick = one_tick(counters(VM, delay_s=None), counters(VM, 2.5, delay_s=None))
    assert Flaw.NO_DELAY in tick.flaws[0]
    assert tick.demand[0, CPU_AXIS] == pytest.approx(0.5)
    assert np.isnan(tick.loss[0, CPU_AXIS])


@pytest.mark.parametrize("dt_s", [0.0, -5.0, 500.0])
def test_no_tick_from_a_clock_that_stands_goes_back_or_leaps(dt_s):
    tick, _ = derive(observed(100, counters(VM)), observed(100 + dt_s, counters(VM, 1)), NONE)
    assert tick is None


def test_a_jump_of_the_wall_clock_does_not_touch_rates():
    before = observed(0, counters(VM))
    after = observed(5, counters(VM, 2.5), wall_s=5_000_000_000.0)
    tick, _ = derive(before, after, NONE)
    assert tick.usage[0, CPU_AXIS] == pytest.approx(0.5)


def test_a_paused_vm_wants_nothing():
    paused = counters(a_vm("web", state=VmState.PAUSED), 1)
    tick = one_tick(paused, paused)
    assert Flaw.PAUSED in tick.flaws[0]
    assert cpu(tick)[:3] == [0, 0, 0]


BALLOON = {"balloon_kib": 131072, "available_kib": 120_000, "unused_kib": 40_000}


def test_memory_without_balloon_or_with_stale_statistics_is_not_guessed():
    now = 1_700_000_005
    no_balloon = one_tick(counters(VM), counters(VM, rss_kib=102_400))
    assert Flaw.NO_BALLOON in no_balloon.flaws[0]
    assert np.isnan(no_balloon.demand[0, MEMORY_AXIS])
    assert no_balloon.usage[0, MEMORY_AXIS] == 100
    stale = one_tick(counters(VM), counters(VM, **BALLOON, balloon_updated_at_s=now - 600))
    assert Flaw.STALE_BALLOON in stale.flaws[0]
    assert np.isnan(stale.demand[0, MEMORY_AXIS])
    fresh = one_tick(counters(VM), counters(VM, **BALLOON, balloon_updated_at_s=now - 2))
    assert fresh.demand[0, MEMORY_AXIS] == pytest.approx(80_000 / 1024)


def test_faults_count_as_loss_only_while_the_balloon_squeezes():
    fresh = {"balloon_updated_at_s": 1_700_000_004, "major_faults": 0}
    free = one_tick(
        counters(VM, **BALLOON, **fresh),
        counters(VM, **BALLOON, **{**fresh, "major_faults": 2500}),
    )
    squeezed = {**BALLOON, "balloon_kib": 65536, "available_kib": 60_000, "unused_kib": 1000}
    tight = one_tick(
        counters(VM, **squeezed, **fresh),
        counters(VM, **squeezed, **{**fresh, "major_faults": 2500}),
    )
    assert free.loss[0, MEMORY_AXIS] == 0
    assert tight.loss[0, MEMORY_AXIS] == pytest.approx(2 / 3)


def test_disk_loss_is_waiting_that_is_not_behind_ones_own_queue():
    def disk(requests, busy_s):
        return counters(VM, disk_requests=requests, disk_time_ns=int(busy_s * 1e9))

    _, quiet = derive(observed(0, disk(0, 0)), observed(5, disk(500, 0.5)), NONE)
    slow, _ = derive(observed(5, disk(500, 0.5)), observed(10, disk(1000, 2.5)), quiet)
    assert slow.loss[0, IOPS_AXIS] == pytest.approx(0.75)
    assert slow.demand[0, IOPS_AXIS] == pytest.approx(400)
    _, quiet = derive(observed(0, disk(0, 0)), observed(5, disk(500, 0.5)), NONE)
    deep, _ = derive(observed(5, disk(500, 0.5)), observed(10, disk(5500, 10.5)), quiet)
    assert deep.loss[0, IOPS_AXIS] == pytest.approx(0)


def test_drops_are_network_loss():
    after = counters(VM, net_bytes=6_250_000, net_packets=900, net_drops=100)
    tick = one_tick(counters(VM), after)
    assert tick.usage[0, NET_AXIS] == pytest.approx(10)
    assert tick.loss[0, NET_AXIS] == pytest.approx(0.1)


def test_host_background_is_what_no_vcpu_ran():
    before = observed(0, counters(VM), cpu_busy_ns=0)
    after = observed(5, counters(VM, 2.5), cpu_busy_ns=int(7.5e9))
    tick, _ = derive(before, after, NONE)
    assert tick.background[CPU_AXIS] == pytest.approx(1.0)


def test_device_rates_run_on_their_own_clock():
    """Disk and balloon counters that are read every third tick give neither zeros nor bursts."""

    def disk(at_s, requests, read_s):
        vm = counters(VM, run_s=at_s / 10, disk_requests=requests, disk_time_ns=requests * 10**6)
        return observed(at_s, vm, devices_at_s=read_s)

    state, rates = NONE, []
    seen = [disk(0, 0, 0), disk(5, 0, 0), disk(10, 0, 0), disk(15, 1500, 15), disk(20, 1500, 15)]
    for before, after in pairwise(seen):
        tick, state = derive(before, after, state)
        rates.append(float(tick.usage[0, IOPS_AXIS]))
        assert tick.usage[0, CPU_AXIS] == pytest.approx(0.1)
    assert rates == pytest.approx([0, 0, 100, 100])
