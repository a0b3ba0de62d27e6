"""What every Journal must do. Subclasses say how to make one; the tests are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evenkeel.domain.ids import HostId, MitigationId, VmId
from evenkeel.domain.plan import ActionKind, Mitigation, MitigationState, SetVcpuPins
from evenkeel.domain.resources import Resource
from evenkeel.domain.vm import CpuTuning
from evenkeel.ports import Journal


def mitigation(name: str = "m1", state: MitigationState = MitigationState.INTENDED) -> Mitigation:
    return Mitigation(
        id=MitigationId(name),
        host=HostId("h1"),
        kind=ActionKind.PIN_APART,
        target=VmId("vm-a"),
        victim=VmId("vm-v"),
        aggressor=VmId("vm-a"),
        resource=Resource.CPU,
        instruction=SetVcpuPins(vm=VmId("vm-a"), vcpu_pins=((1,), (1, 2))),
        prior=CpuTuning(vcpu_pins=((0, 1, 2), (0, 1, 2)), shares=1024, period_us=100000),
        reason="it takes half of vm-v's core",
        created_at_s=1000.25,
        expires_at_s=1120.25,
        state=state,
        loss_before=0.5,
        predicted_loss=0.02,
    )


class JournalContract:
    @pytest.fixture
    def journal(self) -> Journal:
        raise NotImplementedError

    def test_starts_empty(self, journal: Journal) -> None:
        assert journal.open_mitigations() == ()
        assert journal.unreported() == ()

    @pytest.mark.parametrize("state", list(MitigationState))
    def test_each_state_is_open_or_waits_to_be_reported(
        self, journal: Journal, state: MitigationState
    ) -> None:
        recorded = mitigation(state=state)
        journal.record(recorded)
        is_open = state in ("intended", "active", "verified")
        assert journal.open_mitigations() == ((recorded,) if is_open else ())
        assert journal.unreported() == (() if is_open else (recorded,))

    def test_record_replaces_by_id(self, journal: Journal) -> None:
        first = mitigation()
        journal.record(first)
        later = replace(first, state=MitigationState.ACTIVE, expires_at_s=2000.0)
        journal.record(later)
        journal.record(later)
        assert journal.open_mitigations() == (later,)

    def test_order_is_that_of_the_last_record(self, journal: Journal) -> None:
        for name in ("b", "a", "c", "b"):
            journal.record(mitigation(name))
        assert [m.id for m in journal.open_mitigations()] == ["a", "c", "b"]

    def test_reported_ones_are_forgotten(self, journal: Journal) -> None:
        closed = mitigation("m1", MitigationState.ROLLED_BACK)
        other = mitigation("m2", MitigationState.ABANDONED)
        for each in (closed, other):
            journal.record(each)
        journal.mark_reported((closed,))
        journal.mark_reported((closed,))
        assert journal.unreported() == (other,)

    def test_what_changed_since_it_was_carried_stays(self, journal: Journal) -> None:
        carried = mitigation(state=MitigationState.ROLLED_BACK)
        changed = replace(carried, measured_loss=0.01)
        journal.record(carried)
        journal.record(changed)
        journal.mark_reported((carried,))
        assert journal.unreported() == (changed,)

    def test_open_ones_are_never_forgotten(self, journal: Journal) -> None:
        still_open = mitigation(state=MitigationState.ACTIVE)
        journal.record(still_open)
        journal.mark_reported((still_open,))
        assert journal.open_mitigations() == (still_open,)
