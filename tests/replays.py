"""A small recorded fleet and what came of policies on it, so that tests need no simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from evenkeel.domain.recording import NEVER, HostShape, Recorded, Recording, VmTable
from evenkeel.sim.replay.run import Outcome

T0 = 1_800_000_000.0


def a_recording(n_vms: int = 30, n_slots: int = 288, prefix: str = "vm") -> Recording:
    return Recording(
        source="a made-up fleet",
        start_s=T0,
        slot_s=300.0,
        n_slots=n_slots,
        hosts=(HostShape("h1", 16, 65_536.0), HostShape("h2", 16, 65_536.0)),
        vms=VmTable(
            ids=tuple(f"{prefix}{i}" for i in range(n_vms)),
            vcpus=np.full(n_vms, 2.0),
            memory_mib=np.full(n_vms, 2048.0),
            arrives=np.zeros(n_vms, np.intp),
            leaves=np.full(n_vms, NEVER),
            host=np.arange(n_vms) % 2,
            tenant=("shop",) * n_vms,
            kind=("shop/2x2048MiB",) * n_vms,
        ),
        demand=Recorded(np.ones((n_vms, 4, n_slots), np.float32)),
    )


def an_outcome(
    policy: str,
    recording: Recording,
    seed: int = 1,
    notes: tuple[str, ...] = ("Demand is taken as recorded.",),
    **metrics: float,
) -> Outcome:
    rng = np.random.default_rng(seed)
    n, slots = len(recording.vms.ids), recording.n_slots
    by_slot: dict[str, Any] = {
        "hosts_on": rng.integers(1, 3, slots).astype(np.float64),
        "watts": rng.uniform(200, 400, slots),
        "lost_cores": rng.uniform(0, 1, slots),
        "moves": rng.integers(0, 2, slots).astype(np.float64),
    }
    loss_pct = rng.uniform(0, 12, n)
    by_vm = {
        "loss_pct": loss_pct,
        "contended_h": np.arange(n) / 10.0,
        "here_h": np.full(n, slots / 12.0),
        "lost_core_h": loss_pct / 10.0,
        "moves": rng.integers(0, 4, n).astype(np.float64),
    }
    told = {
        "energy_kwh": 100.0,
        "host_hours": 48.0,
        "hosts_peak": 2.0,
        "migrations": 0.0,
        "migrated_gib": 0.0,
        "unserved_pct": 1.0,
        "unserved_pct.cpu": 1.0,
        "unserved_pct.memory": 0.0,
        "slatah_pct": 0.5,
        "contended_vm_hours": 3.0,
        "loss_p99_pct": 9.0,
        "worst_vm_loss_pct": float(loss_pct.max()),
        "refused": 0.0,
        "mitigations": 0.0,
        "rolled_back": 0.0,
    }
    return Outcome(policy, told | metrics, by_slot, by_vm, notes)
