"""The demo without guests: simulated hosts, all else real. Needs neither root nor libvirt."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from evenkeel.cli.output import err, out
from evenkeel.domain.errors import ControllerUnavailable
from evenkeel.wiring.simulated import SimulatedFleet, build_simulated

HOSTS = ("host1", "host2", "host3")
EARLIEST_S = 45.0
NAMED_WITHIN_S = 180.0
QUICK_SLOTS = {"EVENKEEL_FORECAST__SLOT_S": "10", "EVENKEEL_FORECAST__GRACE_S": "3"}
"""Nobody watches a demo for the hours that forecasts usually look back on."""


def run_simulated(
    mode: str, once: bool, began_s: float, show: Callable[[str, str, str], None]
) -> None:
    """Controller and simulated hosts in a temporary folder until Ctrl-C, or until named."""
    with tempfile.TemporaryDirectory(prefix="evenkeel-") as folder:
        state = Path(folder)
        url = f"http://127.0.0.1:{_free_port()}"
        controller = _start_controller(url, state)
        fleet: SimulatedFleet | None = None
        try:
            client = _client(url, state, controller)
            client.put("/v1/mode", json={"mode": mode}).raise_for_status()
            tokens = {host: _agent_token(client, state, host) for host in HOSTS}
            fleet = build_simulated(url, tokens, state, seed=1, earliest_s=EARLIEST_S)
            fleet.start()
            admin_file = state / "admin.token"
            out.print(f"\nA simulated fleet runs.\n  page   {url}/\n  token  {admin_file}\n")
            top = _wait_for_culprit(client)
            out.print(
                f"[bold red]{top['aggressor_name']} hurts {top['victim_name']}[/] on "
                f"{top['resource']}: score {top['score']:.0f}; named "
                f"{(time.monotonic() - began_s) / 60:.1f} minutes after the start\n",
                highlight=False,
            )
            show(url, admin_file.read_text().strip(), top["victim_name"])
            while not once:
                time.sleep(1)
        finally:
            if fleet is not None:
                fleet.stop()
            controller.terminate()
            controller.wait(15)


def _start_controller(url: str, state: Path) -> subprocess.Popen[bytes]:
    env = (
        QUICK_SLOTS
        | os.environ
        | {
            "EVENKEEL_CONTROLLER__LISTEN": url.removeprefix("http://"),
            "EVENKEEL_CONTROLLER__STATE_DIR": str(state),
            "EVENKEEL_CONTROLLER__DATABASE_URL": f"sqlite:///{state / 'controller.db'}",
        }
    )
    with (state / "controller.log").open("ab") as log:
        argv = [sys.executable, "-m", "evenkeel", "controller"]
        return subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)


def _client(url: str, state: Path, controller: subprocess.Popen[bytes]) -> httpx2.Client:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and controller.poll() is None:
        try:
            if httpx2.get(f"{url}/healthz").status_code == 200:
                token = (state / "admin.token").read_text().strip()
                return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise ControllerUnavailable(f"the controller does not serve: {_end(state)}")


def _end(state: Path) -> str:
    return (state / "controller.log").read_text(errors="replace")[-300:].strip()


def _agent_token(client: httpx2.Client, state: Path, host: str) -> Path:
    made = client.post("/v1/tokens", json={"role": "agent", "subject": host})
    made.raise_for_status()
    path = state / f"{host}.token"
    path.touch(mode=0o600)
    path.write_text(made.json()["token"])
    return path


def _wait_for_culprit(client: httpx2.Client) -> dict[str, Any]:
    deadline_s = time.monotonic() + NAMED_WITHIN_S
    with err.status("a neighbour will turn noisy within two minutes"):
        while time.monotonic() < deadline_s:
            found = client.get("/v1/pairs", params={"min_score": 20, "limit": 1})
            items = found.raise_for_status().json()["items"]
            if items:
                return dict(items[0])
            time.sleep(0.5)
    raise ControllerUnavailable("no culprit was named", hint="This is a bug: please report it.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
