"""The executor: journal first, read back, never clobber, every failure an event and a state."""

from dataclasses import replace

import pytest
from builders import a_tuning

from evenkeel.domain.errors import JournalUnavailable
from evenkeel.domain.ids import HostId, MitigationId
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Confirm,
    Extend,
    Mitigation,
    MitigationState,
    SetCpuQuota,
    SetCpuShares,
    SetVcpuPins,
    Undo,
)
from evenkeel.domain.resources import Resource
from evenkeel.runtime.executor import Executor
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.memory import MemoryJournal
from evenkeel.sim.vm import VmSpec


class Scene:
    def __init__(self, **rates: float) -> None:
        self.fleet = SimFleet(1)
        host = self.fleet.add_host(HostSpec("h1", cpus=(0, 1)))
        self.vm = self.fleet.add_vm(host, VmSpec("web", vcpu_pins=((0,),)))
        self.faults = Faults(
            lambda: self.fleet.now_s, rates={FaultKind(k): v for k, v in rates.items()}
        )
        self.hypervisor = SimHypervisor(self.fleet, host, self.faults)
        self.journal = MemoryJournal(self.faults)
        self.executor = Executor(self.hypervisor, self.journal)
        self.prior = self.hypervisor.tuning(self.vm)

    def mitigation(self, instruction=None, **kw) -> Mitigation:
        base = Mitigation(
            id=MitigationId("m1"),
            host=HostId("h1"),
            kind=ActionKind.PIN_APART,
            target=self.vm,
            victim=self.vm,
            aggressor=self.vm,
            resource=Resource.CPU,
            instruction=instruction or SetVcpuPins(self.vm, ((1,),)),
            prior=self.prior,
            reason="a test",
            created_at_s=0.0,
            expires_at_s=120.0,
            state=MitigationState.INTENDED,
            loss_before=0.5,
            predicted_loss=0.0,
        )
        return replace(base, **kw)

    def run(self, step):
        return [event.kind for event in self.executor.execute(step, 10.0)]

    @property
    def tuning(self):
        return self.hypervisor.tuning(self.vm)

    def last(self, state: MitigationState) -> bool:
        return [m.state for m in self.journal.unreported()] == [state]


@pytest.mark.parametrize(
    "change",
    [
        lambda vm: SetVcpuPins(vm, ((1,),)),
        lambda vm: SetCpuShares(vm, 4096),
        lambda vm: SetCpuQuota(vm, 100_000, 30_000),
    ],
)
def test_apply_extend_confirm_undo_leaves_the_host_as_it_was(change):
    scene = Scene()
    m = scene.mitigation(change(scene.vm))
    assert scene.run(Apply(m)) == ["mitigation_applied"]
    assert scene.tuning != scene.prior
    assert scene.run(Extend(m.id, 500.0)) == []
    assert scene.run(Confirm(m.id, 0.01)) == ["mitigation_verified"]
    [opened] = scene.journal.open_mitigations()
    assert (opened.state, opened.expires_at_s) == (MitigationState.VERIFIED, 500.0)
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "done")) == ["mitigation_rolled_back"]
    assert scene.tuning == scene.prior
    assert scene.last(MitigationState.ROLLED_BACK)


def test_nothing_is_touched_when_the_tuning_is_no_longer_what_was_seen():
    scene = Scene()
    stale = scene.mitigation(prior=a_tuning([0, 1]))
    assert scene.run(Apply(stale)) == ["mitigation_refused"]
    assert scene.hypervisor.applied == []


def test_without_a_journal_nothing_is_touched():
    scene = Scene(journal_unavailable=1.0)
    with pytest.raises(JournalUnavailable):
        scene.run(Apply(scene.mitigation()))
    assert scene.hypervisor.applied == []


def test_an_answer_that_got_lost_is_undone():
    scene = Scene(apply_uncertain=1.0)
    scene.run(Apply(scene.mitigation()))
    scene.faults.rates.clear()
    events, done = scene.executor.undo_all("again", 20.0)
    assert done
    assert scene.tuning == scene.prior
    assert events or scene.last(MitigationState.REFUSED)


def test_undo_does_not_clobber_what_somebody_else_set_meanwhile():
    scene = Scene()
    m = scene.mitigation()
    scene.run(Apply(m))
    scene.hypervisor.apply(SetVcpuPins(scene.vm, ((0, 1),)))
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "")) == ["mitigation_abandoned"]
    assert scene.tuning.vcpu_pins == ((0, 1),)


def test_a_vm_that_is_gone_closes_its_mitigation():
    scene = Scene()
    m = scene.mitigation()
    scene.run(Apply(m))
    scene.fleet.remove_vm(scene.vm)
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "")) == ["mitigation_abandoned"]
    assert scene.journal.open_mitigations() == ()


def test_undo_stays_open_while_the_hypervisor_is_away():
    scene = Scene()
    m = scene.mitigation()
    scene.run(Apply(m))
    scene.faults.rates[FaultKind.HYPERVISOR_AWAY] = 1.0
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "")) == ["rollback_failed"]
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "")) == [], "told once"
    assert [o.id for o in scene.journal.open_mitigations()] == [m.id]
    scene.faults.rates.clear()
    assert scene.run(Undo(m.id, MitigationState.ROLLED_BACK, "")) == ["mitigation_rolled_back"]
    assert scene.tuning == scene.prior


def test_undoing_twice_is_undoing_once():
    scene = Scene()
    m = scene.mitigation()
    scene.run(Apply(m))
    undo = Undo(m.id, MitigationState.ROLLED_BACK, "")
    assert scene.run(undo) == ["mitigation_rolled_back"]
    assert scene.run(undo) == []
