"""A VM migrates with its knobs turned: the host it comes to puts them back."""

from __future__ import annotations

from pathlib import Path

import msgspec
from agent_world import an_agent

from evenkeel.adapters.store.store import SqlStore
from evenkeel.agent.reporter import Reporter
from evenkeel.controller.ingest import Ingest
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId
from evenkeel.domain.plan import MitigationState
from evenkeel.domain.policy import Policy
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.link import SimLink
from evenkeel.sim.memory import MemoryJournal, MemoryPolicy, MemorySpool
from evenkeel.sim.scenarios import noisy_neighbour
from evenkeel.wire import decode_batch
from level import level

ACT = Policy(mode=Mode.ACT)


class SimulatedHost:
    def __init__(self, fleet: SimFleet, host_id: HostId, ingest: Ingest) -> None:
        self.hypervisor = SimHypervisor(fleet, host_id)
        self.journal, self.spool = MemoryJournal(), MemorySpool()
        self.agent = an_agent(
            fleet,
            host_id,
            self.spool,
            "1",
            hypervisor=self.hypervisor,
            journal=self.journal,
            policies=MemoryPolicy(ACT),
        )
        link = SimLink(lambda body: ingest.accept(decode_batch(body)))
        self.reporter = Reporter(link, self.spool, self.answered, self.agent.acknowledged)

    def answered(self, reply) -> None:
        self.agent.answered(msgspec.structs.replace(reply, policy=ACT))

    def tick(self) -> None:
        self.agent.tick()
        self.reporter.drain()


def test_what_travelled_with_a_vm_is_undone_where_it_arrives(tmp_path: Path) -> None:
    scenario = noisy_neighbour(4, n_hosts=2)
    fleet = level(scenario.fleet)
    store = SqlStore(f"sqlite:///{tmp_path / 'controller.db'}")
    ingest = Ingest(store, fleet.clock, ACT)
    hosts = {host: SimulatedHost(fleet, host, ingest) for host in fleet.hosts}
    home = hosts[scenario.host]

    def run(seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            fleet.advance(5)
            for host in hosts.values():
                host.tick()

    run(scenario.onset_s + 25)
    [mitigation] = home.journal.open_mitigations()
    elsewhere = next(host for host in hosts if host != scenario.host)
    fleet.migrate_vm(mitigation.target, elsewhere)
    assert hosts[elsewhere].hypervisor.tuning(mitigation.target) != mitigation.prior
    run(30)
    assert hosts[elsewhere].hypervisor.tuning(mitigation.target) == mitigation.prior
    assert home.journal.open_mitigations() == ()
    with store.read() as session:
        ends = {(m.host, m.state) for m in session.chronicle.mitigations(vm=mitigation.target)}
    store.close()
    assert ends >= {
        (scenario.host, MitigationState.ABANDONED),
        (elsewhere, MitigationState.ROLLED_BACK),
    }
