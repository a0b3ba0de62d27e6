"""The whole API on a SQLite file and a clock that tests turn."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.batches import ManualClock

from evenkeel.adapters.store.store import SqlStore
from evenkeel.api.app import create_app
from evenkeel.api.services import Services
from evenkeel.config import ControllerConfig, ForecastConfig
from evenkeel.wire import Batch, BatchReply, decode_reply, encode
from evenkeel.wiring.controller import assemble
from evenkeel.wiring.forecasts import build_forecasts

KEY = b"k" * 32
ORIGIN = "http://testserver"


@dataclass
class Api:
    """Speaks to the API as different people."""

    app: FastAPI
    client: TestClient
    services: Services
    clock: ManualClock
    admin: str

    def token(self, role: str, subject: str) -> str:
        return self.services.tokens.create(role, subject, who="test").secret

    def get(self, path: str, token: str | None = None, **params: Any) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.client.get(path, headers=bearer(token or self.admin), params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, answer: Any) -> tuple[int, str]:
        """Status and code of an answer that must have the error form."""
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "hint"}
        return answer.status_code, error["code"]

    def post(
        self,
        body: Batch | bytes,
        host: str = "h1",
        token: str | None = None,
        zipped: bool = False,
        **headers: str,
    ) -> Any:
        raw = body if isinstance(body, bytes) else encode(body)
        if zipped:
            raw, headers = gzip.compress(raw), headers | {"content-encoding": "gzip"}
        secret = self.token("agent", host) if token is None else token
        return self.client.post(
            f"/v1/agents/{host}/batches", content=raw, headers=bearer(secret) | headers
        )

    def deliver(self, batch: Batch) -> BatchReply:
        answer = self.post(batch, batch.host.id)
        assert answer.status_code == 200, answer.text
        return decode_reply(answer.content)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def open_api(directory: Path, **settings: Any) -> Api:
    clock = ManualClock()
    store = SqlStore(f"sqlite:///{directory}/controller.db")
    controller = ControllerConfig(state_dir=str(directory), **settings)
    forecasts = build_forecasts(ForecastConfig(context_hours=24), controller, store, clock)
    services = assemble(store, clock, KEY, controller, forecasts=forecasts)
    admin = services.tokens.create("admin", "ann", who="test").secret
    app = create_app(services)
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    return Api(app, client, services, clock, admin)
