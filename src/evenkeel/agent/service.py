"""The host daemon: every tick observe, measure, score, decide, check, act, report.

It owns no libvirt, disk or socket: those are ports. When the controller is away it goes on by its
last policy; when libvirt is away it says so and changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from evenkeel import __version__
from evenkeel.agent.contending import Contending
from evenkeel.agent.experiments import Experiments
from evenkeel.agent.foresight import Foresight
from evenkeel.agent.watching import MOST_STANDING, Observed, Watch
from evenkeel.control.check import check
from evenkeel.control.due import due_s
from evenkeel.control.knobs import fit
from evenkeel.control.measure import SILENCE, Baselines, derive
from evenkeel.control.mitigate import decide
from evenkeel.control.view import Patience, View
from evenkeel.domain.errors import EvenkeelError, HypervisorError, JournalUnavailable
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.evidence import VictimEvidence
from evenkeel.domain.host import Host
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Advice, Apply, Mitigation, MitigationState, Plan, is_probe
from evenkeel.domain.policy import Policy
from evenkeel.domain.sample import HostCounters, HostTick
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import VmState
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.testimony import witnessed
from evenkeel.interference.window import Window
from evenkeel.ports import (
    Clock,
    GuestProfiles,
    Hypervisor,
    Journal,
    PolicyMemory,
    Snapshot,
    Spool,
)
from evenkeel.runtime.executor import Executor
from evenkeel.wire import WIRE_VERSION, Batch, BatchReply, Health, encode, tick_to_body

log = logging.getLogger(__name__)

CLOCK_JUMP_S: Final = 2.0
"""Wall and monotonic time may drift apart this much in a tick before it counts as a jump."""
MAX_PENDING_EVENTS: Final = 1000


class Agent:
    """One host's agent. `tick` is its whole life; `start` and `stop` put the host back in order."""

    def __init__(
        self,
        *,
        host: Host,
        hypervisor: Hypervisor,
        journal: Journal,
        spool: Spool,
        policies: PolicyMemory,
        clock: Clock,
        epoch: str,
        window: Window,
        contending: Contending,
        foresight: Foresight,
        profiles: GuestProfiles | None = None,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._hypervisor = hypervisor
        self._journal = journal
        self._spool = spool
        self._policies = policies
        self._clock = clock
        self._epoch = epoch
        self._contending = contending
        self._foresight = foresight
        self._profiles = profiles
        self._on_batch = on_batch
        self._executor = Executor(hypervisor, journal)
        self._seq = 0
        self._before: HostCounters | None = None
        self._baselines = Baselines()
        self._window = window
        self._contention: ContentionMap | None = None
        self._patience = Patience()
        self._watch = Watch()
        self._experiments = Experiments(clock)
        self._events: deque[Event] = deque(maxlen=MAX_PENDING_EVENTS)
        self._carried: dict[int, tuple[Mitigation, ...]] = {}
        self._carried_lock = threading.Lock()
        self._problems: dict[str, str] = {}
        """Stable code of the present trouble, by its source."""
        self._recovered = False
        self._policy = policies.load() or Policy()
        self.snapshot = Snapshot(mode=self._policy.mode)
        """The latest state, replaced whole every tick, so that readers need no lock."""
        self.due_s = 0.0
        """When the next decision is due while nothing changes (wall time), see `control.due`."""
        self._say("agent_started", f"agent {__version__} started")

    # --- what other threads call ----------------------------------------------------------------

    def answered(self, reply: BatchReply) -> None:
        """The controller's answer to a batch: its policy, and what came along with moved VMs."""
        self.adopt(reply.policy)
        for stray in reply.take_over:
            mine = replace(
                stray,
                host=self._host.id,
                prior=fit(stray.prior, self._host.cpus),
                state=MitigationState.ACTIVE,
                state_reason=f"brought along from {stray.host}",
            )
            try:
                self._journal.record(mine)
            except JournalUnavailable as error:
                log.warning("journal: %s", error)

    def adopt(self, policy: Policy) -> None:
        """Follow a policy that came with an acknowledgement; kept on disk when it is new."""
        if policy != self._policy:
            self._policy = policy
            self._policies.save(policy)

    def acknowledged(self, ticket: int) -> None:
        """A batch arrived: the closed mitigations that it carried need not be sent again."""
        with self._carried_lock:
            carried = self._carried.pop(ticket, ())
        if carried:
            try:
                self._journal.mark_reported(carried)
            except JournalUnavailable as error:
                log.warning("journal: %s", error)

    # --- the loop -------------------------------------------------------------------------------

    def tick(self) -> None:
        """Observe, measure, score, decide, check, act, report. Expected trouble is reported."""
        began_s = self._clock.monotonic_s()
        if not self._recovered:
            self._recover()
        counters = self._observe()
        tick, ahead, plan = None, None, Plan()
        self.due_s = self._clock.wall_s()
        scores: tuple[PairScore, ...] = ()
        observed = Observed()
        evidence: tuple[VictimEvidence, ...] = ()
        if counters is not None:
            self._host = counters.host
            self._follow(counters)
            inside = self._profiles.read() if self._profiles is not None else SILENCE
            tick, self._baselines = derive(self._before, counters, self._baselines, inside)
            self._before = counters
        if tick is not None:
            self._window = self._window.append(tick)
            ahead = self._foresight.observe(tick)
            self._contention, soon = self._contending.observe(
                self._window, tick, ahead, self._experiments.log_odds()
            )
            scores = (*self._contention.pairs(), *soon.pairs())
            observed = self._watch.observe(tick, self._contention, (soon,))
            self._events.extend(observed.events)
            plan = self._act(tick, self._contention)
            findings = self._experiments.findings
            evidence = witnessed(self._contention, self._window, findings)
        for kind, message, severity in (*self._foresight.news(), *self._contending.news()):
            self._say(kind, message, severity)
        tick_ms = (self._clock.monotonic_s() - began_s) * 1e3
        health = Health(
            agent_version=__version__,
            tick_ms=round(tick_ms, 3),
            spool_batches=self._spool.n_batches(),
            spool_dropped=self._spool.n_dropped(),
            hypervisor_ok=counters is not None,
            problem=next(iter(self._problems.values()), ""),
        )
        open_now = self._open()
        self.snapshot = Snapshot(
            self._policy.mode,
            counters,
            tick,
            scores,
            open_now,
            health,
            ahead,
            self._watch.standing,
            self._watch.reliability.copied_totals(),
        )
        self._report(tick, scores, observed, plan.advice, open_now, health, evidence)

    def failed(self, error: Exception) -> None:
        """A bug ended a tick: say so, since a host that only falls silent helps nobody."""
        self._say("tick_failed", f"{type(error).__name__}: {error}", Severity.ERROR)
        health = Health(agent_version=__version__, problem="internal")
        self._report(None, (), Observed(), (), self._open(), health)

    def stop(self) -> None:
        """Put the host back as it was: nobody would undo at expiry while the agent is away."""
        try:
            events, _ = self._executor.undo_all("the agent stopped", self._clock.wall_s())
            self._events.extend(events)
        except JournalUnavailable as error:
            log.error("cannot undo at stop: %s", error)
        self._contending.save()
        self._say("agent_stopped", "agent stopped")
        nothing = Observed()
        self._report(None, (), nothing, (), self._open(), Health(agent_version=__version__))

    # --- steps of a tick ------------------------------------------------------------------------

    def _recover(self) -> None:
        """Undo what a killed run left behind, before anything else is done."""
        try:
            events, self._recovered = self._executor.undo_all(
                "the agent was restarted", self._clock.wall_s()
            )
        except JournalUnavailable as error:
            self._trouble("journal", error)
            return
        self._events.extend(events)

    def _observe(self) -> HostCounters | None:
        try:
            counters = self._hypervisor.observe()
        except HypervisorError as error:
            self._trouble("hypervisor", error)
            return None
        self._fine("hypervisor")
        return counters

    def _follow(self, now: HostCounters) -> None:
        """Events for what changed between two observations: VMs and the wall clock."""
        before = self._before
        if before is None:
            return
        drift_s = (now.wall_s - before.wall_s) - (now.monotonic_s - before.monotonic_s)
        if abs(drift_s) > CLOCK_JUMP_S:
            # Rows dated by the old clock would lie about their age.
            self._window = self._window.cleared()
            self._watch.forget()
            self._say("clock_jumped", f"the wall clock jumped {drift_s:+.1f} s", Severity.WARNING)
        old = {c.vm.id: c for c in before.vms}
        for counters in now.vms:
            earlier = old.pop(counters.vm.id, None)
            vm = counters.vm
            if earlier is None:
                continue
            if earlier.incarnation != counters.incarnation:
                self._events.append(self._vm_event("vm_restarted", vm.id, f"{vm.name} restarted"))
            elif (earlier.vm.state is VmState.PAUSED) != (vm.state is VmState.PAUSED):
                verb = "paused" if vm.state is VmState.PAUSED else "resumed"
                self._events.append(self._vm_event(f"vm_{verb}", vm.id, f"{vm.name} {verb}"))

    def _act(self, tick: HostTick, contention: ContentionMap) -> Plan:
        """Decide and, where the policy lets us, carry out. Nothing is done on doubtful ground."""
        if not self._recovered:
            return Plan()
        now_s = self._clock.wall_s()
        try:
            open_now = self._journal.open_mitigations()
            view = View(now_s, tick, self._window, contention, open_now, self._policy)
            nonce, before = f"{self._epoch}-{self._seq + 1}", self._patience
            plan, self._patience = decide(view, before, nonce)
            plan, told = self._experiments.plan(view, plan, nonce)
            self.due_s = due_s(view, plan, before, self._patience)
            self._events.extend(told)
            probes = self._experiments.record()
            refused = check(plan, tick, open_now, self._policy, now_s, probes)
            for i, step in enumerate(plan.steps):
                if i in refused:
                    self._say("step_refused", refused[i], Severity.ERROR)
                    continue
                self._experiments.note(step)
                events = self._executor.execute(step, now_s)
                self._events.extend(events)
                failed = any(e.kind in ("mitigation_refused", "mitigation_failed") for e in events)
                if failed and isinstance(step, Apply) and not is_probe(step):
                    until_s = now_s + self._policy.cooldown_s
                    self._patience = self._patience.leaving_alone(step.mitigation.victim, until_s)
        except JournalUnavailable as error:
            self._trouble("journal", error)
            return Plan()
        self._fine("journal")
        return plan

    def _report(
        self,
        tick: HostTick | None,
        scores: tuple[PairScore, ...],
        observed: Observed,
        advice: tuple[Advice, ...],
        open_now: tuple[Mitigation, ...],
        health: Health,
        evidence: tuple[VictimEvidence, ...] = (),
    ) -> None:
        """Spool the batch; the reporter's thread takes it from there."""
        closed = self._unreported()
        self._seq += 1
        events = tuple(self._events)
        batch = Batch(
            v=WIRE_VERSION,
            host=self._host,
            epoch=self._epoch,
            seq=self._seq,
            sent_at_s=self._clock.wall_s(),
            mode=self._policy.mode,
            tick=tick_to_body(tick) if tick is not None else None,
            scores=scores,
            deviations=observed.deviations,
            advice=advice,
            mitigations=(*open_now, *closed),
            events=events,
            health=health,
            slots_origin_s=self._foresight.slots_origin_s,
            traits=self._contending.report(),
            reliability=observed.tallies,
            pair_deviations=self._watch.standing[:MOST_STANDING],
            evidence=evidence,
        )
        with self._carried_lock:
            ticket = self._spool.put(encode(batch))
            if closed:
                self._carried[ticket] = closed
        for _ in events:
            self._events.popleft()
        self._on_batch()

    # --- small things ---------------------------------------------------------------------------

    def _open(self) -> tuple[Mitigation, ...]:
        try:
            return self._journal.open_mitigations()
        except JournalUnavailable:
            return ()

    def _unreported(self) -> tuple[Mitigation, ...]:
        try:
            return self._journal.unreported()
        except JournalUnavailable:
            return ()

    def _trouble(self, source: str, error: EvenkeelError) -> None:
        """Say it once when it starts; the batch's health says it as long as it lasts."""
        if self._problems.get(source) != error.code:
            self._say(error.code, error.message, Severity.ERROR)
            log.error("%s (%s)", error.message, error.code)
        self._problems[source] = error.code

    def _fine(self, source: str) -> None:
        if (code := self._problems.pop(source, None)) is not None:
            self._say(f"{source}_recovered", f"the {source} is well again (was {code})")

    def _say(self, kind: str, message: str, severity: Severity = Severity.INFO) -> None:
        self._events.append(
            Event(self._clock.wall_s(), kind, message, severity, host=self._host.id)
        )

    def _vm_event(self, kind: str, vm: VmId, message: str) -> Event:
        return Event(self._clock.wall_s(), kind, message, Severity.INFO, self._host.id, vm)
