"""Makes a host's newest batch the current state: the host, its VMs, its pairs.

An older batch that comes late changes nothing here, except that a tick older than the newest
batch, but newer than the tick known so far, still becomes the host's newest tick.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

from evenkeel.controller.location import contested, elect, tell
from evenkeel.controller.skew import is_skewed
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.vm import Vm, VmState
from evenkeel.ports_store import Session
from evenkeel.records import Claim, HostRecord, VmRecord
from evenkeel.wire import Batch


def update_inventory(session: Session, batch: Batch, now_s: float) -> None:
    """Apply a batch that was not seen before, in the transaction that stores it."""
    before = session.inventory.host(batch.host.id)
    after, events = _next_host(before, batch, now_s)
    session.inventory.put_host(after)
    if (after.epoch, after.seq) == (batch.epoch, batch.seq):
        session.inventory.replace_pairs(batch.host.id, batch.scores, now_s)
    if batch.tick and (after.tick_epoch, after.tick_seq) == (batch.epoch, batch.seq):
        same = before is not None and before.tick is not None and before.tick.vms == batch.tick.vms
        if not (same and _nobody_else_has(session, batch.host.id, batch.tick.vms)):
            events += _update_vms(session, batch.host.id, batch.tick.vms, now_s)
    session.chronicle.add_events(events)


def _next_host(
    before: HostRecord | None, batch: Batch, now_s: float
) -> tuple[HostRecord, list[Event]]:
    events: list[Event] = []
    host = batch.host
    if before is None:
        events.append(Event(now_s, "host_appeared", f"{host.id} reports", host=host.id))
    if before is None or (batch.epoch, batch.seq) > (before.epoch, before.seq):
        skewed = is_skewed(before, batch, now_s)
        if skewed and not (before and before.skewed):
            events.append(_clock_skewed(batch, now_s))
        after = HostRecord(
            host=host,
            epoch=batch.epoch,
            seq=batch.seq,
            sent_at_s=batch.sent_at_s,
            last_seen_s=now_s,
            mode=batch.mode,
            health=batch.health,
            advice=batch.advice,
            evidence=batch.evidence,
            skewed=skewed,
            pair_deviations=batch.pair_deviations,
            tick=before.tick if before else None,
            tick_epoch=before.tick_epoch if before else "",
            tick_seq=before.tick_seq if before else 0,
            tick_seen_s=before.tick_seen_s if before else None,
        )
    else:
        after = dataclasses.replace(before, last_seen_s=now_s)
    if batch.tick and (batch.epoch, batch.seq) > (after.tick_epoch, after.tick_seq):
        after = dataclasses.replace(
            after,
            tick=batch.tick,
            tick_epoch=batch.epoch,
            tick_seq=batch.seq,
            tick_seen_s=now_s,
        )
    return after, events


def _clock_skewed(batch: Batch, now_s: float) -> Event:
    ahead_s = batch.sent_at_s - now_s
    return Event(
        now_s,
        "clock_skewed",
        f"the clock of {batch.host.id} is {abs(ahead_s):.0f} s "
        f"{'ahead of' if ahead_s > 0 else 'behind'} the controller's",
        severity=Severity.WARNING,
        host=batch.host.id,
        detail={"ahead_s": round(ahead_s, 1)},
    )


def _nobody_else_has(session: Session, host: HostId, vms: tuple[Vm, ...]) -> bool:
    """Then a host whose VMs are what they were has nothing to elect: most ticks by far."""
    return all(claim.host == host for claim in session.inventory.claims(vm.id for vm in vms))


def _update_vms(session: Session, host: HostId, vms: tuple[Vm, ...], now_s: float) -> list[Event]:
    """Elect the home of every VM that the host has or had; answer what there is to tell."""
    here = {vm.id: vm for vm in vms}
    touched = here.keys() | {claim.vm for claim in session.inventory.claims_of(host)}
    running = {vm.id: vm.state is VmState.RUNNING for vm in vms}
    session.inventory.replace_claims(host, running)
    claims: dict[VmId, list[Claim]] = defaultdict(list)
    for claim in session.inventory.claims(touched):
        claims[claim.vm].append(claim)
    known = session.inventory.vms_by_id(touched)
    changed: list[VmRecord] = []
    events: list[Event] = []
    for vm_id in sorted(touched):
        before = known.get(vm_id)
        home = elect(claims[vm_id])
        vm = _as_home_tells(session, vm_id, home, host, here, before)
        if vm is None:
            continue
        after = _next_vm(before, vm, home, now_s)
        if not contested(claims[vm_id]):
            event = tell(before, after, now_s)
            events += [event] if event else []
            after = dataclasses.replace(after, told=home)
        if after != before:
            changed.append(after)
    session.inventory.put_vms(changed)
    return events


def _as_home_tells(
    session: Session,
    vm_id: VmId,
    home: HostId | None,
    reporter: HostId,
    here: dict[VmId, Vm],
    before: VmRecord | None,
) -> Vm | None:
    """The VM as its home describes it: this host, another one, or the last one that had it."""
    if home == reporter:
        return here[vm_id]
    if home is not None and (before is None or before.home != home):
        other = session.inventory.host(home)
        vms = other.tick.vms if other and other.tick else ()
        return next((vm for vm in vms if vm.id == vm_id), before.vm if before else None)
    return before.vm if before else None


def _next_vm(before: VmRecord | None, vm: Vm, home: HostId | None, now_s: float) -> VmRecord:
    told = before.told if before else None
    if home is not None:
        return VmRecord(vm, home, told, last_home=home)
    if before is None:
        raise RuntimeError(f"VM {vm.id} left before it came")
    left_at_s = before.left_at_s if before.home is None else now_s
    return VmRecord(vm, None, told, before.last_home, left_at_s)
