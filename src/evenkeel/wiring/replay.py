"""A recorded fleet under several policies side by side: what deciders meet the replayed world.

The world (`sim.replay`) and its opponents decide nothing that a live fleet decides; Evenkeel's own
row is `wiring.replay_policy`, with the agents of `wiring.replay_agents` on hosts that run short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.fairco2 import read_fairco2
from evenkeel.adapters.traces.lab_matrix import read_lab_matrix
from evenkeel.domain.errors import SimulationInvalid
from evenkeel.domain.recording import NOWHERE, HostShape, Recording, VmTable
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.cut import cut
from evenkeel.sim.replay.opponents import Balance, BestFit, Stay
from evenkeel.sim.replay.run import Outcome, Policy, run
from evenkeel.sim.replay.sold import OVERCOMMIT, enough_hosts
from evenkeel.sim.replay.thr_mmt import ThrMmt
from evenkeel.sim.replay.world import Hosts
from evenkeel.wiring.recordings import Form, Options, read_recording
from evenkeel.wiring.replay_agents import AgentsInPlace
from evenkeel.wiring.replay_policy import Evenkeel

LAB: Final = (
    Path(__file__).with_name("corun_lab.csv"),
    Path(__file__).parents[3] / "data" / "corun_lab.csv",
)
"""Pairs that `evenkeel lab matrix` measured: as installed, and in the source tree."""
LAB_CPUS, LAB_VCPUS = 1, 1
PAIR_CPUS, PAIR_VCPUS = 96, 48
"""Of Fair-CO2's server, and of each of two workloads on it."""
USUAL_KIND: Final = HostShape("host", 16, 128 * 1024.0)
"""Where none is told: it, or as many times of it (2, 4, 8 ..) as the largest VM needs."""
MOST_TIMES: Final = 16

Report = Callable[[str, int, int], None]
"""(what is done, slots done, of how many)"""


@dataclass(frozen=True, slots=True)
class Question:
    """What to replay: `policies` by name; `n_hosts` of `host_kind`, None: as recorded, or enough.

    `from_s` (UTC; None: its beginning) and `after_s` that say where it begins, `hours` how long it
    is; `corun`: a table of pairs, None: the lab's own.
    """

    paths: tuple[Path, ...]
    form: Form
    policies: tuple[str, ...]
    options: Options = field(default_factory=Options)
    n_hosts: int | None = None
    host_kind: str | None = None
    overcommit: float = OVERCOMMIT
    from_s: float | None = None
    after_s: float = 0.0
    hours: float | None = None
    corun: Path | None = None
    seed: int = 0


POLICIES: Final[Mapping[str, str]] = {
    "stay": "as recorded, else first-fit; nobody moves",
    "best-fit": "best-fit; nobody moves",
    "balance": "from the most to the least loaded host",
    "thr-mmt": "empty hosts, relieve above 80 % of CPU",
    "evenkeel": "Evenkeel: placement, moves, and agents in place",
    "evenkeel-moves": "the same without agents",
}


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What came of a question."""

    question: Question
    recording: Recording
    n_hosts: int
    outcomes: tuple[Outcome, ...]
    seconds: Mapping[str, float]

    @property
    def notes(self) -> tuple[str, ...]:
        """All that is assumed, each once."""
        return tuple(dict.fromkeys(note for o in self.outcomes for note in o.notes))


def replay(question: Question, report: Report = lambda what, done, of: None) -> Replayed:
    """Read, run every policy, measure. Raises SimulationInvalid, TraceInvalid."""
    names = known(question.policies)
    if not 1.0 <= question.overcommit < np.inf:
        raise SimulationInvalid(
            f"{question.overcommit:g} vCPUs for each CPU, not 1 or more", hint="--overcommit 4."
        )
    corun = residual(question.corun)
    recording = read_recording(question.paths, question.form, question.options)
    begin_s = recording.start_s if question.from_s is None else question.from_s
    recording = cut(recording, begin_s + question.after_s, question.hours)
    recording = on_hosts(recording, question)
    hosts = Hosts.of(recording.hosts)
    outcomes, seconds = [], {}
    for name in names:
        began_s = time.perf_counter()
        policy = policy_of(name, recording, hosts, question)
        told = partial(report, name)
        outcomes.append(run(recording, hosts, policy, question.seed, told, corun))
        seconds[name] = time.perf_counter() - began_s
    return Replayed(question, recording, hosts.n, tuple(outcomes), seconds)


def known(policies: Sequence[str]) -> tuple[str, ...]:
    """Each once. Raises SimulationInvalid for a name that is none."""
    names = tuple(dict.fromkeys(name.strip() for name in policies if name.strip()))
    wrong = [name for name in names if name not in POLICIES]
    if wrong or not names:
        raise SimulationInvalid(
            f"there is no policy {wrong[0]!r}" if wrong else "no policy is named",
            hint=f"--policy takes some of {', '.join(POLICIES)}, with commas between.",
        )
    return names


def policy_of(name: str, recording: Recording, hosts: Hosts, question: Question) -> Policy:
    """A fresh one, for one run."""
    sold = question.overcommit
    if name == "stay":
        return Stay(overcommit=sold)
    if name == "best-fit":
        return BestFit(name, sold)
    if name == "balance":
        return Balance(overcommit=sold)
    if name == "thr-mmt":
        return ThrMmt(name, sold)
    agents = AgentsInPlace(recording, hosts, seed=question.seed) if name == "evenkeel" else None
    return Evenkeel(name, agents, sold)


def on_hosts(recording: Recording, question: Question) -> Recording:
    """With hosts: those that were recorded, or as many as are asked for, or enough.

    Raises SimulationInvalid where no host is large enough for a VM.
    """
    asked = question.n_hosts is not None or question.host_kind is not None
    if recording.hosts and not asked:
        return recording
    vms = recording.vms
    shape = shape_of(question.host_kind) if question.host_kind else usual_shape(vms)
    largest = int(
        np.argmax(np.maximum(vms.vcpus / shape.n_cpus, vms.memory_mib / shape.memory_mib))
    )
    if vms.vcpus[largest] > shape.n_cpus or vms.memory_mib[largest] > shape.memory_mib:
        raise SimulationInvalid(
            f"VM {vms.ids[largest]!r} ({vms.vcpus[largest]:g} vCPUs, "
            f"{vms.memory_mib[largest] / 1024:g} GiB) is larger than any host",
            hint=f"Hosts are {shape.n_cpus} CPUs and {shape.memory_mib / 1024:g} GiB each: "
            "--host-kind CPUSxGIB takes larger ones.",
        )
    n = question.n_hosts or enough_hosts(vms, shape, question.overcommit)
    if n < 1:
        raise SimulationInvalid(f"{n} hosts", hint="--hosts is 1 or more.")
    why = "as asked" if question.n_hosts else "as many as first-fit of all sizes fills"
    note = (
        f"Hosts are not the source's: {n} of {shape.n_cpus} CPUs and "
        f"{shape.memory_mib / 1024:g} GiB ({why}; {question.overcommit:g} vCPUs are sold for "
        "each CPU, memory is sold once)."
    )
    hosts = tuple(replace(shape, name=f"host{i:04d}") for i in range(n))
    nowhere = np.full(len(vms.ids), NOWHERE, dtype=np.intp)
    return replace(
        recording,
        hosts=hosts,
        vms=replace(vms, host=nowhere),
        notes=(*recording.notes, note),
    )


def usual_shape(vms: VmTable) -> HostShape:
    """The smallest usual kind that every VM fits on, or the largest."""
    times = 1
    while times < MOST_TIMES and (
        vms.vcpus.max(initial=0.0) > times * USUAL_KIND.n_cpus
        or vms.memory_mib.max(initial=0.0) > times * USUAL_KIND.memory_mib
    ):
        times *= 2
    return replace(
        USUAL_KIND, n_cpus=times * USUAL_KIND.n_cpus, memory_mib=times * USUAL_KIND.memory_mib
    )


def shape_of(kind: str) -> HostShape:
    """`CPUSxGIB` or `CPUSxGIBxMBITxIOPS`. Raises SimulationInvalid."""
    parts = kind.lower().split("x")
    try:
        numbers = [float(part) for part in parts]
        if len(numbers) not in (2, 4) or not all(0 < n < np.inf for n in numbers):
            raise ValueError
        cpus = int(parts[0])
    except ValueError as error:
        raise SimulationInvalid(
            f"host kind {kind!r}",
            hint="--host-kind CPUSxGIB, such as 16x64, or CPUSxGIBxMBITxIOPS: 16x64x10000x50000.",
        ) from error
    shape = HostShape("host", cpus, numbers[1] * 1024.0)
    if len(numbers) == 2:
        return shape
    return replace(shape, net_mbit_s=numbers[2], iops=numbers[3])


def residual(path: Path | None) -> Residual:
    """Of a table of measured pairs, the lab's own where none is named. Raises TraceInvalid."""
    if path is not None:
        return Residual.of(read_fairco2([path]), PAIR_CPUS, PAIR_VCPUS)
    for lab in LAB:
        if lab.exists():
            return Residual.of(read_lab_matrix([lab]).pairs, LAB_CPUS, LAB_VCPUS)
    return Residual.none()
