from __future__ import annotations

from collections.abc import Callable

import pytest
from fleet_fake import FleetFake
from typer.testing import CliRunner, Result

from api_fake import ApiFake
from evenkeel import config
from evenkeel.cli import client
from evenkeel.cli.main import app

NOW_S = 1_800_000_000.0
Run = Callable[..., Result]


@pytest.fixture
def api() -> ApiFake:
    return ApiFake(FleetFake(NOW_S))


@pytest.fixture
def run(api: ApiFake, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `evenkeel ARGS` against the fake API with the admin's token, on a wide terminal."""
    plain = client.ApiClient.__init__

    def through_fake(self: client.ApiClient, settings: config.ClientConfig) -> None:
        plain(self, settings, api)

    monkeypatch.setattr(client.ApiClient, "__init__", through_fake)
    monkeypatch.setenv("EVENKEEL_TOKEN", "admin-token")
    monkeypatch.delenv("EVENKEEL_CONFIG", raising=False)

    def invoke(*args: str, stdin: str | None = None, columns: int = 160) -> Result:
        from evenkeel.cli import output

        monkeypatch.setattr(output.out, "_width", columns)
        monkeypatch.setattr(output.err, "_width", columns)
        return CliRunner().invoke(app, list(args), input=stdin)

    return invoke
