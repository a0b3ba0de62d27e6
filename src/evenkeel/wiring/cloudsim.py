"""The consolidation benchmark with all its policies: the fleet's own planner and its opponents.

The simulated world decides nothing; what decides on a live fleet (`controller.repacking`) meets it
here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.planetlab import read_planetlab
from evenkeel.controller.repacking import Past, Repacking, problem_of, repack
from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.ids import HostId, VmId
from evenkeel.envelope import Result
from evenkeel.placement.check import check
from evenkeel.placement.fleet import Hosts, Vms
from evenkeel.sim.cloudsim import mmt
from evenkeel.sim.cloudsim.day import Day, Report, simulate
from evenkeel.sim.cloudsim.first import first_hosts
from evenkeel.sim.cloudsim.policies import Fixed, Mmt, Policy, Seen
from evenkeel.sim.cloudsim.world import State, World, make_world, ordered

LAYOUTS: Final = "`evenkeel simulate --help` describes the layouts."


class PolicyName(StrEnum):
    """As the command calls them."""

    NPA = "npa"
    DVFS = "dvfs"
    THR_MMT = "thr-mmt"
    LR_MMT = "lr-mmt"
    EVENKEEL = "evenkeel"


@dataclass(slots=True)
class Evenkeel:
    """The live fleet's planner in the benchmark's form.

    It knows what every VM wanted at the ticks so far, less the newest `lag` of them. VMs go to
    hosts with cores as fast as any VM; where memory is honoured, and binds before CPU does, slow
    VMs go to slow hosts too.
    """

    how: Repacking = field(default_factory=Repacking)
    lag: int = 0

    def place(self, world: World) -> Ints:
        """As CloudSim's own policies do."""
        return first_hosts(world, by_power=True)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        world, home = seen.world, seen.state.home
        samples = world.share[:, 1 : world.share.shape[1] - self.lag]
        there = np.flatnonzero(home >= 0)
        if not samples.shape[1] or not len(there):
            return there[:0], there[:0]
        is_fast = world.core >= world.mips.max()
        is_held = bool(np.isfinite(world.room).all())
        # Otherwise slow hosts matter only while somebody is on them.
        is_on = np.bincount(home[there], minlength=len(is_fast)) > 0
        hosts = np.flatnonzero(is_fast | is_on | is_held)
        past = Past(
            demand=samples[there] * world.mips[there, None],
            size=world.mips[there],
            memory=world.ram[there],
            firm=_firm(world, there) if is_held else np.zeros((len(there), 0)),
        )
        watts = world.watts[hosts]
        problem = problem_of(
            _hosts(world, hosts, is_fast, is_held),
            _vms(there, np.searchsorted(hosts, home[there])),
            past,
            idle_watts=watts[:, 0],
            watts_per_cpu=(watts[:, -1] - watts[:, 0]) / world.total[hosts],
            how=self.how,
        )
        plan = repack(problem, samples.shape[1] - 1, self.how)
        refusals = check(problem, plan)
        assert not refusals, refusals
        vms = there[[move.vm for move in plan.moves]]
        targets = hosts[[move.target for move in plan.moves]]
        return _all_at_once(world, seen.state, vms, targets)


def _firm(world: World, vms: Ints) -> F64:
    """Memory, and whether a fast core is needed: a thing that slow hosts have none of."""
    return np.stack([world.ram[vms], world.mips[vms] > world.core.min()], axis=1)


def _hosts(world: World, hosts: Ints, is_fast: Bools, is_held: bool) -> Hosts:
    capacity = world.total[hosts, None]
    if is_held:
        fast_cores = np.where(is_fast, np.inf, 0.0)
        capacity = np.stack([world.total[hosts], world.room[hosts], fast_cores[hosts]], axis=1)
    return Hosts(
        ids=tuple(HostId(str(host)) for host in hosts),
        capacity=capacity,
        is_open=is_fast[hosts] | is_held,
        fault_domain=np.zeros(len(hosts), dtype=np.intp),
    )


def _vms(vms: Ints, host: Ints) -> Vms:
    n = len(vms)
    unknown = np.zeros((n, 1))
    return Vms(
        ids=tuple(VmId(str(vm)) for vm in vms),
        host=host,
        mean=unknown,
        deviation=unknown,
        tenant=np.zeros(n, dtype=np.intp),
        exempt=np.zeros(n, dtype=np.bool_),
    )


def _all_at_once(world: World, state: State, vms: Ints, hosts: Ints) -> tuple[Ints, Ints]:
    """Those moves for which there is memory before anybody has left. The benchmark begins all
    moves of a tick together; a later tick plans the others anew."""
    there = np.flatnonzero(state.home >= 0)
    held = np.bincount(state.home[there], world.ram[there], len(world.total)).astype(np.float64)
    able = []
    for k, (vm, host) in enumerate(zip(vms.tolist(), hosts.tolist(), strict=True)):
        if held[host] + world.ram[vm] <= world.room[host]:
            held[host] += world.ram[vm]
            able.append(k)
    return vms[able], hosts[able]


POLICIES: Final[Mapping[PolicyName, Callable[[], Policy]]] = {
    PolicyName.NPA: Fixed,
    PolicyName.DVFS: Fixed,
    PolicyName.THR_MMT: lambda: Mmt(mmt.THR),
    PolicyName.LR_MMT: lambda: Mmt(mmt.LR),
    PolicyName.EVENKEEL: Evenkeel,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A day of a trace, the order of its VMs, who decides, and whether memory binds."""

    source: Path
    day: str | None
    order: str
    policy: PolicyName
    honour_ram: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a question."""

    question: Question
    label: str
    n_vms: int
    day: Day
    seconds: float

    def result(self) -> Result:
        """In the project's envelope."""
        question = self.question
        seed = question.order.partition(":")[2]
        return Result(
            name="simulate.cloudsim-planetlab",
            seconds=self.seconds,
            seed=int(seed) if seed else None,
            metrics=self.day.metrics(),
            detail={
                "day": self.label,
                "vms": self.n_vms,
                "order": question.order,
                "policy": question.policy.value,
                "honour_ram": question.honour_ram,
                "settings": asdict(Repacking()) if question.policy == "evenkeel" else {},
                "by_tick": [asdict(tick) for tick in self.day.by_tick],
            },
        )


def read_day(source: Path, day: str | None) -> tuple[str, F64]:
    """Label and percents (V, 288) of a day, VMs by name.

    Raises TraceInvalid when there is no such day, or several and none is named.
    """
    try:
        traces = read_planetlab([source], (day,) if day else ()).traces
    except TraceInvalid as error:
        hint = error.hint if error.hint != TraceInvalid.default_hint else LAYOUTS
        raise TraceInvalid(error.message, hint=hint) from error
    if len(traces) > 1:
        raise TraceInvalid(
            f"{len(traces)} days are in there",
            hint=f"Name one: --day {traces[0].label} (others: "
            f"{', '.join(trace.label for trace in traces[1:])}).",
        )
    # The reader keeps shares in single precision; the trace holds whole percents.
    values = traces[0].panel.values.astype(np.float64)
    return traces[0].label, np.round(values * 100.0, 4)


def run(question: Question, report: Report = lambda done, of: None) -> Outcome:
    """Read, simulate, measure. Raises TraceInvalid."""
    began_s = time.perf_counter()
    label, percent = read_day(question.source, question.day)
    percent = percent[ordered(len(percent), question.order)]
    world = make_world(percent, honour_ram=question.honour_ram)
    is_managed = question.policy is not PolicyName.NPA
    day = simulate(world, POLICIES[question.policy](), is_managed, report)
    return Outcome(question, label, len(percent), day, time.perf_counter() - began_s)
