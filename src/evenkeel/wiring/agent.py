"""Puts the agent together: libvirt, disk and HTTP behind its ports, two threads and the loop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.adapters.disk.models import FileModelMemory
from evenkeel.adapters.disk.policy import FilePolicyMemory
from evenkeel.adapters.disk.spool import SqliteSpool
from evenkeel.adapters.disk.traits import FileTraitKeeper
from evenkeel.adapters.guest.channels import ChannelProfiles
from evenkeel.adapters.http.link import HttpLink
from evenkeel.adapters.memory import give_back
from evenkeel.agent.contending import Contending
from evenkeel.agent.foresight import Foresight
from evenkeel.agent.reporter import Reporter
from evenkeel.agent.service import Agent
from evenkeel.config import AgentConfig
from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.errors import EvenkeelError, JournalUnavailable
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId
from evenkeel.interference.window import Window
from evenkeel.ports import Clock, GuestProfiles, Hypervisor
from evenkeel.runtime.executor import Executor
from evenkeel.runtime.loop import Loop
from evenkeel.wire import BatchReply

if TYPE_CHECKING:
    from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
    from evenkeel.adapters.metrics.server import MetricsServer

log = logging.getLogger(__name__)

RESTORE_TRIES = 10
SETTLED_S = 20.0


@dataclass(slots=True)
class AgentDaemon:
    """A wired agent. `run` blocks until SIGTERM, SIGINT or `stop`."""

    agent: Agent
    loop: Loop
    reporter: Reporter | None
    metrics: MetricsServer | None
    hypervisor: Hypervisor
    profiles: GuestProfiles | None = None

    def run(self) -> None:
        if self.reporter is not None:
            self.reporter.start()
        settled = threading.Timer(SETTLED_S, give_back)
        settled.daemon = True
        settled.start()
        try:
            self.loop.run()
        finally:
            settled.cancel()
            self.agent.stop()
            if self.reporter is not None:
                self.reporter.stop()
            if self.metrics is not None:
                self.metrics.close()
            if self.profiles is not None:
                self.profiles.close()
            self.hypervisor.close()

    def stop(self) -> None:
        self.loop.stop()


def build_agent(
    config: AgentConfig,
    *,
    hypervisor: Hypervisor | None = None,
    profiles: GuestProfiles | None = None,
    clock: Clock | None = None,
) -> AgentDaemon:
    """Wire an agent. Raises ConfigInvalid, JournalUnavailable; libvirt may come up later."""
    clock = clock or SystemClock()
    state = _state_dir(config)
    if hypervisor is None:
        hypervisor = libvirt = _libvirt(config, clock)
        profiles = profiles or ChannelProfiles(libvirt.profilers, clock)
    spool = SqliteSpool(state / "spool.db", int(config.spool_max_mib * 2**20))
    reporter: Reporter | None = None

    def wake_reporter() -> None:
        if reporter is not None:
            reporter.wake()

    foresight = Foresight(FileModelMemory(state / "models"), clock, config.tick_s)
    contending = Contending(FileTraitKeeper(state / "traits.npz"), config.half_life_s)
    agent = Agent(
        host=_unseen_host(config),
        hypervisor=hypervisor,
        journal=SqliteJournal(state / "journal.db"),
        spool=spool,
        policies=FilePolicyMemory(state / "policy.json"),
        clock=clock,
        epoch=f"{time.time_ns():020d}",
        window=Window.empty(config.window_s, config.tick_s),
        contending=contending,
        foresight=foresight,
        profiles=profiles,
        on_batch=wake_reporter,
    )
    if config.controller_url:
        link = HttpLink(
            config.controller_url,
            host_id=config.host_id,
            token_file=Path(config.token_file),
            ca_file=Path(config.ca_file) if config.ca_file else None,
            timeout_s=config.controller_timeout_s,
        )

        def answered(reply: BatchReply) -> None:
            agent.answered(reply)
            foresight.follow(reply.short_models, link.model)
            foresight.hear(reply.slots_ahead)
            contending.follow(reply.contention_model, link.model)

        reporter = Reporter(link, spool, answered, agent.acknowledged)
    loop = Loop(agent.tick, config.tick_s, clock, on_failure=agent.failed)
    metrics = _metrics(config, agent, hypervisor)
    return AgentDaemon(agent, loop, reporter, metrics, hypervisor, profiles)


def run_agent(config: AgentConfig) -> None:
    """The daemon's main: wire, obey signals, run."""
    daemon = build_agent(config)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("stopping on %s", signal.Signals(number).name)
        daemon.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log.info("agent of host %s watches %s", config.host_id, config.libvirt_uri)
    daemon.run()


def restore_host(config: AgentConfig) -> list[str]:
    """Undo every mitigation in the journal, without starting an agent. Returns what was done.

    For ExecStopPost and for hands: safe to call at any time when no agent runs.
    """
    clock = SystemClock()
    hypervisor = _libvirt(config, clock)
    executor = Executor(hypervisor, SqliteJournal(_state_dir(config) / "journal.db"))
    said: list[str] = []
    for _ in range(RESTORE_TRIES):
        events, done = executor.undo_all("restored by hand", clock.wall_s())
        said += [f"{event.kind} {event.vm}: {event.message}" for event in events]
        if done:
            return said
        time.sleep(1.0)
    raise JournalUnavailable("some mitigations could not be undone", hint="; ".join(said[-3:]))


def _state_dir(config: AgentConfig) -> Path:
    state = Path(config.state_dir)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise JournalUnavailable(f"{state}: {error.strerror}") from error
    return state


def _unseen_host(config: AgentConfig) -> Host:
    """What is known of the host before libvirt has answered for the first time."""
    cpus = parse_cpu_list(config.cpus) or tuple(sorted(os.sched_getaffinity(0)))
    return Host(HostId(config.host_id), cpus, memory_mib=0.0)


def _libvirt(config: AgentConfig, clock: Clock) -> LibvirtHypervisor:
    # Imported here: the simulated fleet runs this same wiring where there is no libvirt.
    from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor

    return LibvirtHypervisor(config, clock)


def _metrics(config: AgentConfig, agent: Agent, hypervisor: Hypervisor) -> MetricsServer | None:
    if not config.metrics_listen:
        return None
    from evenkeel.adapters.metrics.server import MetricsServer

    records = getattr(hypervisor, "records", tuple)
    server = MetricsServer(config.metrics_listen, lambda: agent.snapshot, records)
    try:
        server.start()
    except EvenkeelError as error:
        log.error("no metrics endpoint: %s (%s)", error.message, error.code)
        return None
    return server
