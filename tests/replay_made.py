"""Recordings that are made up, for the tests of a replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.recording import NEVER, NOWHERE, HostShape, Recorded, Recording, VmTable
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, N_RESOURCES, NET_AXIS
from evenkeel.sim.replay.run import Seen

SLOT_S = 300.0
START_S = 1_300_000_000.0 // SLOT_S * SLOT_S


def shapes(n: int, n_cpus: int = 8, memory_gib: float = 32.0) -> tuple[HostShape, ...]:
    return tuple(HostShape(f"h{i}", n_cpus, memory_gib * 1024, 1000.0, 5000.0) for i in range(n))


def recording(
    wanted: F64,
    hosts: Sequence[HostShape],
    host: Sequence[int] | None = None,
    vcpus: float | Sequence[float] = 4.0,
    memory_mib: float | Sequence[float] = 4096.0,
    arrives: Sequence[int] | None = None,
    leaves: Sequence[int] | None = None,
    kind: Sequence[str] = (),
) -> Recording:
    """VMs that want `wanted` (V, R, T)."""
    n, _, n_slots = wanted.shape
    table = VmTable(
        ids=tuple(f"vm{i:03}" for i in range(n)),
        vcpus=np.broadcast_to(np.asarray(vcpus, dtype=np.float64), (n,)).copy(),
        memory_mib=np.broadcast_to(np.asarray(memory_mib, dtype=np.float64), (n,)).copy(),
        arrives=np.asarray([0] * n if arrives is None else arrives, dtype=np.intp),
        leaves=np.asarray([NEVER] * n if leaves is None else leaves, dtype=np.intp),
        host=np.asarray([NOWHERE] * n if host is None else host, dtype=np.intp),
        tenant=("",) * n,
        kind=tuple(kind) or ("",) * n,
    )
    values = wanted.astype(np.float32)
    return Recording("made", START_S, SLOT_S, n_slots, tuple(hosts), table, Recorded(values))


def constant(n_slots: int, *rows: tuple[float, float, float, float]) -> F64:
    """(V, R, T) of VMs that want the same all the time: cpu, memory, net, iops."""
    return np.repeat(np.array(rows)[:, :, None], n_slots, axis=2)


def made(seed: int, n_vms: int = 24, n_hosts: int = 6, n_slots: int = 18) -> Recording:
    """VMs that come and go, with bursts; some samples are not known."""
    rng = np.random.default_rng([seed, 77])
    arrives = np.where(rng.random(n_vms) < 0.6, 0, rng.integers(0, n_slots, n_vms))
    stays = np.where(rng.random(n_vms) < 0.5, NEVER, rng.integers(1, n_slots, n_vms))
    leaves = np.where(stays == NEVER, NEVER, arrives + stays)
    vcpus = rng.choice([1.0, 2.0, 4.0, 8.0], n_vms)
    memory = rng.choice([1024.0, 2048.0, 8192.0], n_vms)
    wanted = np.zeros((n_vms, N_RESOURCES, n_slots))
    level = rng.random(n_vms) ** 2
    burst = rng.random((n_vms, n_slots)) < 0.15
    share = np.clip(level[:, None] * rng.gamma(4, 0.25, (n_vms, n_slots)) + 0.7 * burst, 0, 1.2)
    wanted[:, CPU_AXIS] = share * vcpus[:, None]
    wanted[:, MEMORY_AXIS] = memory[:, None] * rng.uniform(0.2, 1.0, (n_vms, n_slots))
    wanted[:, NET_AXIS] = 300.0 * rng.random((n_vms, n_slots)) ** 3
    wanted[:, IOPS_AXIS] = 2000.0 * rng.random((n_vms, n_slots)) ** 3
    wanted[rng.random(wanted.shape) < 0.02] = np.nan
    return recording(
        wanted, shapes(n_hosts), None, vcpus, memory, arrives.tolist(), leaves.tolist()
    )


class Scripted:
    """Places VM i on host `at[i]`, and moves what it is told to in each slot."""

    name = "scripted"
    in_place = None

    def __init__(
        self, at: Sequence[int], moves: dict[int, Sequence[tuple[int, int]]] | None = None
    ) -> None:
        self.at = np.asarray(at, dtype=np.intp)
        self.moves = moves or {}
        self.seen: list[Seen] = []

    def place(self, seen: Seen, vms: Ints) -> Ints:
        self.seen.append(seen)
        return self.at[vms]

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        self.seen.append(seen)
        pairs = np.array(self.moves.get(seen.slot, []), dtype=np.intp).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]
