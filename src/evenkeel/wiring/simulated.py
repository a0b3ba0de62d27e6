"""A simulated fleet with real agents, spools and journals, for machines that can run no guests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from evenkeel.adapters.clock import SystemClock
from evenkeel.config import AgentConfig
from evenkeel.domain.ids import HostId
from evenkeel.sim.clock import SimClock
from evenkeel.sim.live import LiveFleet
from evenkeel.sim.scenarios import Scenario, noisy_neighbour
from evenkeel.wiring.agent import AgentDaemon, build_agent


@dataclass(slots=True)
class SimulatedFleet:
    """The built-in collision in real time, one agent a host, each in a thread of its own."""

    scenario: Scenario
    agents: list[AgentDaemon]
    threads: list[threading.Thread]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        for daemon in self.agents:
            daemon.stop()
        for thread in self.threads:
            thread.join(10)


def build_simulated(
    controller_url: str,
    token_files: dict[str, Path],
    state_dir: Path,
    *,
    seed: int,
    earliest_s: float,
    tick_s: float = 1.0,
) -> SimulatedFleet:
    """Wire the scenario's hosts to a controller; `token_files` has a host's token by its id."""
    clock = SystemClock()
    scenario = noisy_neighbour(
        seed,
        clock=SimClock(clock.wall_s(), clock.monotonic_s()),
        earliest_s=earliest_s,
        n_hosts=len(token_files),
    )
    live = LiveFleet(scenario.fleet, clock)
    agents = [
        build_agent(
            AgentConfig(
                host_id=host,
                controller_url=controller_url,
                token_file=str(token_file),
                state_dir=str(state_dir / host),
                tick_s=tick_s,
                metrics_listen="",
            ),
            hypervisor=live.hypervisor(HostId(host)),
            clock=clock,
        )
        for host, token_file in token_files.items()
    ]
    threads = [
        threading.Thread(target=agent.run, name=f"agent-{i}") for i, agent in enumerate(agents)
    ]
    return SimulatedFleet(scenario, agents, threads)
