"""The command line against a real API in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.controller_app import Api
from typer.testing import CliRunner, Result

from evenkeel import config
from evenkeel.cli import client, output
from evenkeel.cli.main import app

Run = Callable[..., Result]


def cli_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `evenkeel ARGS` with the administrator's token, on a wide terminal."""
    plain = client.ApiClient.__init__

    def inside(self: client.ApiClient, settings: config.ClientConfig) -> None:
        plain(self, settings, api.client._transport)

    monkeypatch.setattr(client.ApiClient, "__init__", inside)
    monkeypatch.setenv("EVENKEEL_TOKEN", api.admin)
    monkeypatch.delenv("EVENKEEL_CONFIG", raising=False)
    monkeypatch.setattr(output.out, "_width", 200)
    monkeypatch.setattr(output.err, "_width", 200)
    return lambda *args: CliRunner().invoke(app, list(args))
