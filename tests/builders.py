"""Small builders for domain values, so that tests say only what matters to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evenkeel.domain.host import Capability, Host
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import Flaw, HostCounters, HostTick, VmCounters
from evenkeel.domain.vm import CpuTuning, Vm, VmState
from evenkeel.interference.window import Window

EVERYTHING = frozenset(Capability)


def a_host(n_cpus: int = 2, **kw: object) -> Host:
    base = Host(HostId("h1"), tuple(range(n_cpus)), 4096.0, capabilities=EVERYTHING)
    return replace(base, **kw)  # type: ignore[arg-type]


def a_tuning(pins: Sequence[int] = (0, 1), n_vcpus: int = 1, shares: int = 1024) -> CpuTuning:
    return CpuTuning((tuple(pins),) * n_vcpus, shares, 100_000, -1)


def a_vm(
    name: str,
    pins: Sequence[int] = (0, 1),
    n_vcpus: int = 1,
    shares: int = 1024,
    tenant: str = "default",
    **kw: object,
) -> Vm:
    base = Vm(
        id=VmId(f"id-{name}"),
        name=name,
        n_vcpus=n_vcpus,
        memory_mib=128.0,
        tenant=TenantId(tenant),
        tuning=a_tuning(pins, n_vcpus, shares),
    )
    return replace(base, **kw)  # type: ignore[arg-type]


def counters(vm: Vm, run_s: float = 0.0, delay_s: float | None = 0.0, **kw: object) -> VmCounters:
    base = VmCounters(
        vm=vm,
        incarnation=1,
        vcpu_time_ns=int(run_s * 1e9),
        vcpu_delay_ns=None if delay_s is None else int(delay_s * 1e9),
        cpu_time_ns=int(run_s * 1e9),
    )
    return replace(base, **kw)  # type: ignore[arg-type]


def observed(
    at_s: float, *vms: VmCounters, wall_s: float | None = None, **kw: object
) -> HostCounters:
    wall = 1_700_000_000.0 + at_s if wall_s is None else wall_s
    return HostCounters(a_host(), at_s, wall, vms, **kw)  # type: ignore[arg-type]


def a_tick(
    at_s: float,
    vms: Sequence[Vm],
    cpu: Sequence[float],
    loss: Sequence[float] | None = None,
    *,
    interval_s: float = 5.0,
    host: Host | None = None,
    background: float = 0.0,
    flaws: frozenset[Flaw] = frozenset(),
) -> HostTick:
    """A tick in which each VM wants `cpu` cores and loses the share `loss` of it."""
    n = len(vms)
    demand, share = np.zeros((n, N_RESOURCES)), np.zeros((n, N_RESOURCES))
    demand[:, CPU_AXIS] = cpu
    share[:, CPU_AXIS] = loss if loss is not None else 0.0
    back = np.zeros(N_RESOURCES)
    back[CPU_AXIS] = background
    return HostTick(
        host=host or a_host(),
        taken_at_s=at_s,
        interval_s=interval_s,
        vms=tuple(vms),
        demand=demand,
        usage=demand * (1 - share),
        loss=share,
        self_limited=np.zeros((n, N_RESOURCES)),
        background=back,
        flaws=(flaws,) * n,
    )


def a_window(ticks: Sequence[HostTick], window_s: float = 60.0) -> Window:
    window = Window.empty(window_s)
    for tick in ticks:
        window = window.append(tick)
    return window


__all__ = ["VmState", "a_host", "a_tick", "a_tuning", "a_vm", "a_window", "counters", "observed"]
