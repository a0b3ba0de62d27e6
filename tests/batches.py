"""Builds agents' batches, so that controller tests say only what matters to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from evenkeel.domain.events import Event
from evenkeel.domain.host import Capability, Host, Mode
from evenkeel.domain.ids import HostId, MitigationId, TenantId, VmId
from evenkeel.domain.plan import ActionKind, Mitigation, MitigationState, SetVcpuPins
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import CpuTuning, Vm, VmState
from evenkeel.wire import WIRE_VERSION, Batch, TickBody

START_S = 1_800_000_000.0


@dataclass
class ManualClock:
    now_s: float = START_S

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s - START_S


def a_vm(name: str, tenant: str = "default", state: VmState = VmState.RUNNING) -> Vm:
    tuning = CpuTuning(vcpu_pins=((0, 1),), shares=1024, period_us=100_000, quota_us=-1)
    return Vm(VmId(f"id-{name}"), name, 1, 128.0, TenantId(tenant), state, tuning=tuning)


def a_tick(vms: Sequence[Vm], at_s: float, loss: float | None = 0.0) -> TickBody:
    n = len(vms)
    return TickBody(
        taken_at_s=at_s,
        interval_s=5.0,
        vms=tuple(vms),
        demand=[[1.0, 100.0, 0.0, None]] * n,
        usage=[[0.5, 100.0, 0.0, None]] * n,
        loss=[[loss, 0.0, None, None]] * n,
        self_limited=[[0.0, 0.0, None, None]] * n,
        background=[0.1, 0.0, 0.0, 0.0],
        flaws=((),) * n,
        psi=(0.1, None, 0.0),
    )


def a_score(victim: str, aggressor: str, score: float = 36.0) -> PairScore:
    return PairScore(
        victim=VmId(f"id-{victim}"),
        aggressor=VmId(f"id-{aggressor}"),
        resource=Resource.CPU,
        score=score,
        probability=0.9,
        severity=score / 90,
        confidence=0.9,
        window_s=60.0,
        n_samples=12,
        horizon_s=5.0,
    )


def a_mitigation(
    name: str = "m1",
    state: MitigationState = MitigationState.ACTIVE,
    host: str = "h1",
    target: str = "batch7",
    victim: str = "web1",
    state_at_s: float = START_S,
    created_at_s: float = START_S,
) -> Mitigation:
    return Mitigation(
        id=MitigationId(name),
        host=HostId(host),
        kind=ActionKind.PIN_APART,
        target=VmId(f"id-{target}"),
        victim=VmId(f"id-{victim}"),
        aggressor=VmId(f"id-{target}"),
        resource=Resource.CPU,
        instruction=SetVcpuPins(vm=VmId(f"id-{target}"), vcpu_pins=((1,),)),
        prior=CpuTuning(vcpu_pins=((0, 1),), shares=1024),
        reason=f"{target} takes half of {victim}'s core",
        created_at_s=created_at_s,
        expires_at_s=created_at_s + 120,
        state=state,
        loss_before=0.4,
        predicted_loss=0.02,
        state_at_s=state_at_s,
    )


def an_event(kind: str = "mitigation_applied", vm: str | None = "web1", at_s: float = 1.0) -> Event:
    return Event(at_s, kind, f"{kind} told", vm=VmId(f"id-{vm}") if vm else None)


def a_batch(
    seq: int = 1,
    host: str = "h1",
    vms: Sequence[Vm | str] | None = ("web1", "batch7"),
    *,
    epoch: str = "e1",
    at_s: float | None = None,
    sent_at_s: float = START_S,
    loss: float | None = 0.0,
    **fields: object,
) -> Batch:
    """One tick of `host`; `vms=None` is a batch without a tick."""
    tick = None
    if vms is not None:
        present = [a_vm(vm) if isinstance(vm, str) else vm for vm in vms]
        tick = a_tick(present, START_S + 5 * seq if at_s is None else at_s, loss)
    batch = Batch(
        v=WIRE_VERSION,
        host=Host(HostId(host), (0, 1), 4096.0, capabilities=frozenset({Capability.PIN})),
        epoch=epoch,
        seq=seq,
        sent_at_s=sent_at_s,
        mode=Mode.ADVISE,
        tick=tick,
    )
    return msgspec.structs.replace(batch, **fields)
