"""An agent and a real controller: models reach the agent and survive what happens to both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.controller_process import Controller
from tests.short_data import promoted, random_weights

from evenkeel.adapters.disk.models import FileModelMemory
from evenkeel.adapters.http.link import HttpLink
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import Forbidden
from evenkeel.domain.resources import Resource
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.scenarios import quiet
from evenkeel.wiring.agent import AgentDaemon, build_agent

pytestmark = pytest.mark.integration

FETCHER = """
import sys
from pathlib import Path
from evenkeel.adapters.disk.models import FileModelMemory
from evenkeel.domain.resources import Resource
from tests.short_data import kept, random_weights

memory = FileModelMemory(Path(sys.argv[1]))
models = [kept(random_weights(k).save(), f"cpu-{k}") for k in (1, 2)]
print("ready", flush=True)
while True:
    for model in models:
        memory.save(Resource.CPU, model)
"""


class Host:
    """One host of a simulated fleet with a real agent."""

    def __init__(self, state: Path, controller: Controller) -> None:
        self.fleet = quiet(3).fleet
        self.id = next(iter(self.fleet.hosts))
        (state / "token").write_text(controller.token("agent", self.id))
        self.config = AgentConfig(
            host_id=self.id,
            controller_url=controller.url,
            token_file=str(state / "token"),
            state_dir=str(state),
            metrics_listen="",
        )
        self.daemon = self.start()

    def restart(self) -> None:
        """As after kill -9: nothing is said or undone, the kernel closes what was open."""
        self.close()
        self.daemon = self.start()

    def close(self) -> None:
        for each in (self.link, self.daemon.agent._journal, self.daemon.agent._spool):
            each.close()

    @property
    def link(self) -> HttpLink:
        assert self.daemon.reporter is not None
        return self.daemon.reporter._link

    def start(self) -> AgentDaemon:
        hypervisor = SimHypervisor(self.fleet, self.id)
        return build_agent(self.config, hypervisor=hypervisor, clock=self.fleet.clock)

    def tick(self, n: int = 1, deliver: bool = True) -> tuple[str, ...]:
        """Who forecasts after `n` ticks."""
        for _ in range(n):
            self.fleet.advance(5.0)
            self.daemon.agent.tick()
            if deliver:
                assert self.daemon.reporter is not None
                assert self.daemon.reporter.drain()
        ahead = self.daemon.agent.snapshot.ahead
        assert ahead is not None
        return ahead.models


def test_the_champion_reaches_the_agent_and_outlives_restarts_of_both(tmp_path: Path) -> None:
    state = tmp_path / "agent"
    state.mkdir()
    database = f"sqlite:///{tmp_path}/controller.db"
    registry = FileModelRegistry(tmp_path / "models")
    first = promoted(registry, 1)
    memory = promoted(registry, 2, Resource.MEMORY)
    controller = Controller(tmp_path, database)
    try:
        host = Host(state, controller)
        assert host.tick(2) == (first, memory, "built-in", "built-in")
        second = promoted(registry, 3)
        with pytest.raises(Forbidden):
            host.link.model(first)
        assert host.link.model(second) == random_weights(3).save()
    finally:
        controller.kill()

    host.restart()
    assert host.tick(2, deliver=False)[0] == first, "alone it goes on with what it has"
    assert not host.daemon.reporter.drain()
    (state / "models" / "cpu.model").write_bytes(b"rubbish")
    host.restart()
    assert host.tick(2, deliver=False)[:2] == ("built-in", memory)

    controller = Controller(tmp_path, database, listen=controller.url.partition("//")[2])
    try:
        assert host.tick(2)[:2] == (second, memory)
        assert not list((state / "models").glob(".*"))
        events = [e["kind"] for e in controller.get("/v1/events?limit=100").json()["items"]]
        assert events.count("short_model_damaged") == 1
        answer = controller.client.post(
            "/v1/models/rollback",
            json={"resource": "cpu", "horizon": "short"},
            headers={"Authorization": f"Bearer {controller.admin}"},
        )
        assert answer.json()["model"]["id"] == first
        host.tick()
        assert host.tick()[0] == first
        host.close()
    finally:
        controller.kill()


def test_killed_while_it_keeps_a_model_the_agent_has_a_whole_one(tmp_path: Path) -> None:

    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    whole = {random_weights(k).save() for k in (1, 2)}
    for round_ in range(6):
        argv = [sys.executable, "-c", FETCHER, str(tmp_path)]
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            try:
                worker.wait(0.03 + 0.017 * round_)
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGKILL)
        model = FileModelMemory(tmp_path).load(Resource.CPU)
        assert model is not None
        assert model.blob in whole
        assert not list(tmp_path.glob(".*"))
