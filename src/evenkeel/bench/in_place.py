"""What the agent does for, and to, the VMs of hosts that are sold several times over.

Made-up hosts (`sim.crowded`) are replayed slot by slot, with an agent that only watches and with
one that acts, in a world where VMs run anywhere at equal weights (`free`), weigh by their vCPUs
(`sized`), or were pinned to pools of cores by an operator (`pools`). Of interest is what is lost by
VMs that want no more than their fair share, and how much is done and undone in vain.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Mode
from evenkeel.domain.policy import Policy
from evenkeel.domain.recording import Recording
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.envelope import Result
from evenkeel.sim.crowded import Crowd, crowded
from evenkeel.sim.replay.run import Given
from evenkeel.sim.replay.world import Hosts
from evenkeel.sim.vm import DEFAULT_SHARES, VmSpec
from evenkeel.wiring.replay_agents import AgentsInPlace

Define = Callable[[VmSpec], VmSpec]
OURS: Final = "agent"
POOL: Final = 2
"""Cores by which pools are staggered."""
AGAIN_SLOTS: Final = 1
"""The same VM is tuned again so soon after it was undone: in vain, one time or the other."""


@dataclass(slots=True)
class Sums:
    """Of all host-slots that were asked for. Losses are core-slots."""

    n: int = 0
    lost: float = 0.0
    inside_lost: float = 0.0
    inside_wanted: float = 0.0
    worst: float = 0.0
    actions: int = 0
    undone: int = 0
    again: int = 0
    cpu_s: float = 0.0
    given: list[Given] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        n = max(self.n, 1)
        return {
            "host_slots": float(self.n),
            "lost_cores": round(self.lost / n, 3),
            "inside_lost_pct": round(100 * self.inside_lost / max(self.inside_wanted, 1e-9), 3),
            "inside_worst_pct": round(100 * self.worst, 1),
            "actions": float(self.actions),
            "undone": float(self.undone),
            "again": float(self.again),
            "ms_per_host_slot": round(1e3 * self.cpu_s / n, 1),
        }


def bench_in_place(
    seeds: int, n_slots: int, every_tick: bool, report: Callable[[str], None]
) -> Result:
    """`every_tick`: also without skipping, and whether that makes a difference."""
    start_s = time.monotonic()
    ways = {OURS: (Mode.ACT, False), "nobody": (Mode.OBSERVE, False)}
    if every_tick:
        ways["ticking"] = (Mode.ACT, True)
    found: dict[str, dict[str, float]] = {way: {} for way in ways}
    for name, shape in SHAPES.items():
        sums = {way: Sums() for way in ways}
        for seed in range(1, seeds + 1):
            recording = crowded(Crowd(n_slots=n_slots), seed)
            for way, (mode, ticks) in ways.items():
                report(f"{name}, {way}, seed {seed} of {seeds}")
                _replay(recording, shape(recording), mode, ticks, sums[way])
        for way in ways:
            found[way] |= {f"{name}.{key}": value for key, value in sums[way].metrics().items()}
        if every_tick:
            found[OURS] |= _compared(name, sums[OURS].given, sums["ticking"].given)
    metrics = found.pop(OURS)
    return Result("in-place", round(time.monotonic() - start_s, 1), metrics, baselines=found)


def _replay(recording: Recording, define: Define, mode: Mode, ticks: bool, sums: Sums) -> None:
    hosts = Hosts.of(recording.hosts)
    policy = Policy(mode=mode)
    in_place = AgentsInPlace(recording, hosts, policy, every_tick=ticks, define=define)
    fair = _fair_share(recording, hosts, define)
    undone: dict[str, int] = {}
    for slot in range(recording.n_slots):
        wanted = recording.wanted(slot)
        short = np.bincount(recording.vms.host, wanted[:, CPU_AXIS]) > hosts.n_cpus
        for host in range(hosts.n):
            if not short[host] and not in_place.is_open(host):
                continue
            here = np.flatnonzero(recording.vms.host == host)
            at_s = recording.start_s + slot * recording.slot_s
            began_s = time.process_time()
            given = in_place.slot(host, here, wanted[here], at_s, recording.slot_s)
            sums.cpu_s += time.process_time() - began_s
            _add(sums, given, wanted[here, CPU_AXIS], fair[here])
            sums.again += _again(given.events, slot, undone)


def _add(sums: Sums, given: Given, wanted: F64, fair: F64) -> None:
    lost = wanted - given.got[:, CPU_AXIS]
    inside = wanted <= fair
    sums.n += 1
    sums.lost += float(lost.sum())
    sums.inside_lost += float(lost[inside].sum())
    sums.inside_wanted += float(wanted[inside].sum())
    share = lost[inside & (wanted > 0)] / wanted[inside & (wanted > 0)]
    sums.worst = max(sums.worst, float(share.max(initial=0.0)))
    sums.actions += given.n_actions
    sums.undone += given.n_rolled_back
    sums.given.append(given)


def _again(events: tuple[str, ...], slot: int, undone: dict[str, int]) -> int:
    """How often a VM was tuned that had just been put back; `undone`: by VM, in which slot."""
    n = 0
    for event in events:
        kind, vm = event.split(":")[0].split(" ")
        if kind == "mitigation_applied":
            n += slot - undone.pop(vm, -AGAIN_SLOTS - 1) <= AGAIN_SLOTS
        elif kind in ("mitigation_rolled_back", "mitigation_ineffective"):
            undone[vm] = slot
    return n


def _compared(name: str, skipped: list[Given], ticked: list[Given]) -> dict[str, float]:
    off = [np.abs(a.got - b.got)[:, CPU_AXIS].max() for a, b in zip(skipped, ticked, strict=True)]
    done = [
        (a.n_actions, a.n_rolled_back) != (b.n_actions, b.n_rolled_back)
        for a, b in zip(skipped, ticked, strict=True)
    ]
    return {
        f"{name}.slots_done_otherwise": float(sum(done)),
        f"{name}.cores_off": round(float(max(off, default=0.0)), 4),
    }


def _fair_share(recording: Recording, hosts: Hosts, define: Define) -> F64:
    """(V,) cores that each VM's weight entitles it to on its host."""
    vms = recording.vms
    weight = np.array(
        [define(VmSpec(i, n_vcpus=int(n))).shares for i, n in zip(vms.ids, vms.vcpus, strict=True)],
        dtype=np.float64,
    )
    total = np.bincount(vms.host, weight)
    return np.asarray(hosts.n_cpus[vms.host] * weight / total[vms.host])


def _free(recording: Recording) -> Define:
    return lambda spec: spec


def _sized(recording: Recording) -> Define:
    return lambda spec: replace(spec, shares=DEFAULT_SHARES * spec.n_vcpus)


def _pools(recording: Recording) -> Define:
    """Each VM on as many neighbouring cores as it has vCPUs, from one of three corners on."""
    place = {vm: k for k, vm in enumerate(recording.vms.ids)}

    def define(spec: VmSpec) -> VmSpec:
        first = POOL * (place[spec.name] % 3)
        cores = tuple(range(first, first + max(POOL, min(spec.n_vcpus, 2 * POOL))))
        return replace(spec, vcpu_pins=(cores,) * spec.n_vcpus)

    return define


SHAPES: Final[dict[str, Callable[[Recording], Define]]] = {
    "free": _free,
    "sized": _sized,
    "pools": _pools,
}
