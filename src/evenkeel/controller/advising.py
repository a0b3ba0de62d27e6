"""What the fleet's plan would be, looked at every few minutes: advice that does not flap.

Level-triggered: every look lays the fleet out as it is, so that a look that failed costs nothing
but time. What is decided is `repacking.repack`, which a simulated fleet runs by; what differs is
where demand is from (forecasts by slot and claims here, samples there). Nothing is executed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from evenkeel.controller.outlook import LiveFleet
from evenkeel.controller.plans import Plans, Told, Wanted, settled
from evenkeel.controller.repacking import Repacking, repack
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.events import Event
from evenkeel.placement.best import Proposal
from evenkeel.placement.bound import bound
from evenkeel.placement.explain_plan import explain
from evenkeel.placement.keeping import (
    NamedMove,
    Patience,
    Turn,
    amended,
    helps_as_much,
    named,
    rest_of,
    still,
    turn,
)
from evenkeel.placement.plan import MovePlan, outlook
from evenkeel.placement.problem import Limits, Problem
from evenkeel.ports import Clock
from evenkeel.ports_store import Store

ALARM: Final = 2.5
"""Times the accepted risk, from which a host is relieved: between the two nobody moves."""
TRIES: Final = 64
_log = structlog.get_logger("evenkeel.advice")


@dataclass(frozen=True, slots=True)
class Advising:
    """`every_s` between looks; `limits` of a plan; `patience` with the former one."""

    every_s: float = 300.0
    limits: Limits = field(default_factory=lambda: Limits(cooldown_s=3600.0))
    patience: Patience = field(default_factory=Patience)
    drain_slots: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Advice:
    """`told`: the plan on the fleet as it was at `looked_at_s`; first given at `since_s`, because
    of `turn`; `seconds` the last look took; `alarm`: odds from which a
    host counts as at risk; `told_at_s`: the event."""

    told: Told
    wanted: Wanted
    moves: tuple[NamedMove, ...]
    since_s: float
    looked_at_s: float
    turn: Turn
    seconds: float
    alarm: float
    told_at_s: float = 0.0


class AdviceService:
    """Thread-safe: `look` is called by one thread, `newest` by any.

    Parameters
    ----------
    plans : lays the fleet out
    store : gets an event when there is a new plan
    """

    def __init__(self, plans: Plans, store: Store, clock: Clock, how: Advising) -> None:
        self.how = how
        self._plans = plans
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: Advice | None = None
        self._trouble = ""

    def newest(self) -> Advice | None:
        """None: nobody has looked yet."""
        with self._lock:
            return self._newest

    def trouble(self) -> str:
        """Why the last look failed; empty: it did not."""
        with self._lock:
            return self._trouble

    def look(self) -> Advice | None:
        """Look at the fleet; None: it could not be done, and what is known stands."""
        started_s = time.perf_counter()
        try:
            advice = self._looked(started_s)
        except EvenkeelError as error:
            with self._lock:
                self._trouble = f"{error.code}: {error.message}"
            _log.warning("advice_failed", code=error.code, reason=error.message)
            return None
        with self._lock:
            self._newest, self._trouble = advice, ""
        return advice

    def _looked(self, started_s: float) -> Advice:
        now_s, former = self._clock.wall_s(), self.newest()
        wanted = Wanted(self.how.limits)
        fleet, problem = self._plans.laid_out(wanted)
        risk = problem.chance.epsilon
        how = Repacking(risk, ALARM * risk, drain_slots=self.how.drain_slots, tries=TRIES)
        slot = int(now_s // self.how.every_s)
        proposal = settled(problem, lambda asked: _proposal(asked, repack(asked, slot, how)))
        rest = rest_of(problem, former.moves) if former and former.moves else None
        kept = proposal.plan if rest is None else still(problem, rest, how.alarm)
        age_s = now_s - former.since_s if former else 0.0
        why = turn(problem, rest, kept, proposal.plan, how.alarm, age_s, self.how.patience)
        if why is Turn.RELIEF:
            more = amended(problem, kept, how.alarm)
            if more is not None and helps_as_much(problem, more, proposal.plan, how.alarm):
                kept, why = more, Turn.AMENDED
        if why in (Turn.KEPT, Turn.AMENDED) and former is not None:
            stands = replace(
                former,
                told=_told(fleet, problem, kept, how.alarm),
                moves=named(problem, kept),
                turn=former.turn if why is Turn.KEPT else why,
                looked_at_s=now_s,
                seconds=time.perf_counter() - started_s,
            )
            quiet = now_s - former.told_at_s < self.how.patience.cooldown_s
            return stands if why is Turn.KEPT or quiet else self._tell(stands)
        plan = proposal.plan
        advice = Advice(
            told=_told(fleet, problem, plan, how.alarm),
            alarm=how.alarm,
            wanted=wanted,
            moves=named(problem, plan),
            since_s=former.since_s if former and why is Turn.NOTHING else now_s,
            looked_at_s=now_s,
            turn=why,
            seconds=time.perf_counter() - started_s,
        )
        return self._tell(advice) if plan.moves else advice

    def _tell(self, advice: Advice) -> Advice:
        """Of a new plan, once; of what is added to it, not at every look. Raises StoreUnavailable:
        then it is not new yet."""
        plan = advice.told.plan
        event = Event(
            advice.looked_at_s,
            "plan_advised",
            f"advice: {advice.told.why}",
            detail={"moves": len(plan.moves), "turn": advice.turn.value},
        )
        with self._store.write() as session:
            session.chronicle.add_events([event])
        return replace(advice, told_at_s=advice.looked_at_s)


def _told(fleet: LiveFleet, problem: Problem, plan: MovePlan, alarm: float) -> Told:
    """With hosts at risk from the alarm on, before and after: below it nobody is moved."""
    loose = replace(problem, chance=replace(problem.chance, epsilon=alarm))
    before, after = (outlook(loose, host) for host in (problem.fleet.vms.host, plan.host))
    plan = replace(plan, before=before, after=after)
    return Told(fleet, plan, _proposal(problem, plan), explain(problem, plan))


def _proposal(problem: Problem, plan: MovePlan) -> Proposal:
    floor = bound(problem)
    return Proposal(plan, floor, floor.gap(plan.after.running_per_h), None)
