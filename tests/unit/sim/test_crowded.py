"""Made-up crowded hosts, and the study of what an agent does there."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.bench.in_place import SHAPES, _again, bench_in_place
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.sim.crowded import KINDS, Crowd, crowded
from evenkeel.sim.vm import VmSpec


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_is_as_large_as_was_asked_for(seed):
    crowd = Crowd(n_hosts=3, n_slots=6)
    recording = crowded(crowd, seed)
    vms = recording.vms
    for host in range(crowd.n_hosts):
        here = vms.host == host
        assert crowd.n_vms[0] <= here.sum() <= crowd.n_vms[1]
        sold = vms.vcpus[here].sum() / crowd.n_cpus
        assert 1.4 * here.sum() / crowd.n_cpus - 0.5 <= sold <= 1.4 * crowd.n_vms[1]
    assert set(vms.kind) <= set(KINDS)
    for slot in range(crowd.n_slots):
        wanted = recording.wanted(slot)[:, CPU_AXIS]
        assert ((wanted >= 0) & (wanted <= vms.vcpus)).all()


def test_the_same_seed_makes_the_same_crowd():
    one, same, other = (crowded(Crowd(n_hosts=1, n_slots=3), seed) for seed in (1, 1, 2))
    assert one.vms.ids == same.vms.ids
    assert one.demand.values.tobytes() == same.demand.values.tobytes()
    assert one.demand.values.tobytes() != other.demand.values.tobytes()


def test_pools_leave_no_vm_without_cores_and_sized_vms_weigh_by_their_vcpus():
    recording = crowded(Crowd(n_hosts=1, n_slots=1), 1)
    for name, vcpus in zip(recording.vms.ids, recording.vms.vcpus.astype(int), strict=True):
        spec = VmSpec(name, n_vcpus=int(vcpus))
        pins = SHAPES["pools"](recording)(spec).vcpu_pins
        assert len(pins) == vcpus
        assert set(pins[0]) <= set(range(8))
        assert SHAPES["sized"](recording)(spec).shares == 1024 * vcpus


def test_a_vm_that_is_tuned_just_after_it_was_put_back_counts_as_again():
    undone: dict[str, int] = {}
    assert _again(("mitigation_applied a: x", "mitigation_ineffective a: y: z"), 3, undone) == 0
    assert _again(("mitigation_applied a: x", "mitigation_rolled_back a: x"), 4, undone) == 1
    assert _again(("mitigation_applied a: x",), 6, undone) == 0


def test_the_study_has_both_sides():
    result = bench_in_place(1, 1, False, lambda said: None)
    assert set(result.metrics) == set(result.baselines["nobody"])
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert result.baselines["nobody"]["pools.actions"] == 0
