"""A whole Evenkeel on a lab: the controller outside, an agent on every host, as real processes.

Used by the demo and the scenarios. Everything goes through the public face: environment variables,
the REST API, signals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from evenkeel.domain.errors import LabError
from evenkeel.lab.lab import Lab

PORT = 8470


class Fleet:
    """Controller and agents on a lab that is up. `stop` ends them; the lab stays."""

    def __init__(self, lab: Lab, *, tick_s: float = 1.0, port: int = PORT) -> None:
        self.lab = lab
        self.tick_s = tick_s
        self.state_dir = lab.state_dir / "evenkeel"
        self.address = f"{lab.names.outside_address}:{port}"
        self.url = f"http://{self.address}"
        self.config_file: Path | None = None
        """Settings of the controller besides those of its environment."""
        self.token_file = self.state_dir / "controller" / "admin.token"
        self._controller: subprocess.Popen[bytes] | None = None
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._client: httpx2.Client | None = None

    def start(self, mode: str, report: Callable[[str], None] = lambda _: None) -> None:
        """Start everything and wait until every host has reported. Raises LabError."""
        report("starting the controller")
        self.start_controller()
        self.put_mode(mode)
        for host in self.lab.hosts:
            report(f"starting the agent of {host.name}")
            self.start_agent(host.name)
        self.wait(
            lambda: (
                all(h["alive"] for h in self.get("/v1/hosts")["items"])
                and len(self.get("/v1/hosts")["items"]) == len(self.lab.hosts)
            ),
            30.0,
            "every agent to report",
        )

    def stop(self) -> None:
        """SIGTERM to all, agents first, so that they put their hosts back and say so."""
        for process in [*self._agents.values(), *([self._controller] if self._controller else [])]:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._agents.clear()
        self._controller = None
        if self._client is not None:
            self._client.close()
            self._client = None

    # --- processes ------------------------------------------------------------------------------

    def start_controller(self) -> None:
        """Start the controller, or start it again; returns when it serves."""
        state = self.state_dir / "controller"
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        env = os.environ | {
            "EVENKEEL_CONTROLLER__LISTEN": self.address,
            "EVENKEEL_CONTROLLER__STATE_DIR": str(state),
            "EVENKEEL_CONTROLLER__DATABASE_URL": f"sqlite:///{state / 'controller.db'}",
        }
        config = ["--config", str(self.config_file)] if self.config_file else []
        with (self.state_dir / "controller.log").open("ab") as log:
            self._controller = subprocess.Popen(
                [sys.executable, "-m", "evenkeel", "controller", *config],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait(self._serves, 30.0, f"the controller (see {self.state_dir}/controller.log)")
        token = self.token_file.read_text().strip()
        if self._client is not None:
            self._client.close()
        self._client = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=10.0
        )

    def start_agent(self, host: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a host's agent with a token of its own; extra settings by environment."""
        state = self.state_dir / host
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        token_file = state / "agent.token"
        if not token_file.exists():
            made = self.post("/v1/tokens", {"role": "agent", "subject": host})
            token_file.touch(mode=0o600)
            token_file.write_text(made["token"])
        address = self.lab.host(host).address
        setting = {
            "EVENKEEL_AGENT__HOST_ID": host,
            "EVENKEEL_AGENT__LIBVIRT_URI": "qemu:///system",
            "EVENKEEL_AGENT__CONTROLLER_URL": self.url,
            "EVENKEEL_AGENT__TOKEN_FILE": str(token_file),
            "EVENKEEL_AGENT__STATE_DIR": str(state),
            "EVENKEEL_AGENT__TICK_S": str(self.tick_s),
            "EVENKEEL_AGENT__METRICS_LISTEN": f"{address}:9177",
        }
        argv = [sys.executable, "-m", "evenkeel.agentd"]
        log = self.state_dir / f"agent-{host}.log"
        process = self.lab.spawn_on(host, argv, env=setting | env, stdout_path=log)
        self._agents[host] = process
        return process

    def agent(self, host: str) -> subprocess.Popen[bytes]:
        return self._agents[host]

    def controller(self) -> subprocess.Popen[bytes]:
        if self._controller is None:
            raise LabError("the controller is not running")
        return self._controller

    # --- the API --------------------------------------------------------------------------------

    def get(self, path: str, **query: str | int | float | bool) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", path, json=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def put_mode(self, mode: str) -> None:
        self._call("PUT", "/v1/mode", json={"mode": mode})

    def wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Wait until `done`; returns the seconds it took. Raises LabError."""
        start_s = time.monotonic()
        while not done():
            if time.monotonic() - start_s > timeout_s:
                raise LabError(f"waited {timeout_s:.0f} s in vain for {what}")
            time.sleep(0.1)
        return time.monotonic() - start_s

    def _serves(self) -> bool:
        if self._controller is not None and self._controller.poll() is not None:
            raise LabError(
                "the controller ended at once", hint=f"See {self.state_dir}/controller.log."
            )
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=2.0).status_code == 200
        except httpx2.HTTPError:
            return False

    def _call(self, method: str, path: str, **kw: Any) -> Any:
        if self._client is None:
            raise LabError("the controller is not running")
        try:
            response = self._client.request(method, path, **kw)
        except httpx2.HTTPError as error:
            raise LabError(f"{method} {path}: {error}") from error
        if response.status_code >= 400:
            raise LabError(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response.json() if response.content else None


def tail(path: Path, n_lines: int = 20) -> str:
    """The end of a log, for an error's hint."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:])
    except OSError:
        return ""
