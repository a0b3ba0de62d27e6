"""A real `evenkeel controller` process, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from evenkeel.wire import Batch, BatchReply, decode_reply, encode


class Controller:
    """Runs from construction on; `kill` is kill -9, `stop` is SIGTERM."""

    def __init__(
        self,
        state_dir: Path,
        database_url: str,
        forecast: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        environ = {key: value for key, value in os.environ.items() if "EVENKEEL" not in key}
        fields = {
            "listen": "127.0.0.1:0",
            "state_dir": str(state_dir),
            "database_url": database_url,
            **settings,
        }
        environ |= {f"EVENKEEL_CONTROLLER__{k.upper()}": v for k, v in fields.items()}
        environ |= {f"EVENKEEL_FORECAST__{k.upper()}": v for k, v in (forecast or {}).items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evenkeel", "controller"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "://" not in line:
            raise AssertionError(f"it did not start: {line}{self.process.communicate()}")
        self.url = line.split()[-1].rstrip("/")
        self.admin = (state_dir / "admin.token").read_text().strip()
        # The socket listens before the line is printed, so the first request waits for the start.
        self.client = httpx2.Client(base_url=self.url, timeout=30.0)

    def token(self, role: str, subject: str) -> str:
        answer = self.client.post(
            "/v1/tokens",
            json={"role": role, "subject": subject},
            headers={"Authorization": f"Bearer {self.admin}"},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path, headers={"Authorization": f"Bearer {self.admin}"})

    def post(self, batch: Batch, token: str) -> httpx2.Response:
        return self.client.post(
            f"/v1/agents/{batch.host.id}/batches",
            content=encode(batch),
            headers={"Authorization": f"Bearer {token}"},
        )

    def deliver(self, batch: Batch, token: str) -> BatchReply:
        answer = self.post(batch, token)
        assert answer.status_code == 200, answer.text
        return decode_reply(answer.content)

    def kill(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """Exit code and what it logged."""
        self.client.close()
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@contextmanager
def running(
    state_dir: Path, database_url: str, forecast: dict[str, str] | None = None, **settings: str
) -> Iterator[Controller]:
    controller = Controller(state_dir, database_url, forecast, **settings)
    try:
        yield controller
    finally:
        controller.kill()
