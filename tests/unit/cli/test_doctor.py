from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from httpx2 import ConnectError

from evenkeel.cli import checks
from evenkeel.cli.checks import Check, Verdict
from evenkeel.config import AgentConfig

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
NOW_S = 1_800_000_000.0


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr("evenkeel.cli.checks.time.time", lambda: NOW_S)
    # the default argument was bound at import
    monkeypatch.setattr(checks.check_client, "__defaults__", (checks.ApiClient, lambda: NOW_S))


def verdicts(result) -> dict[str, str]:
    return {item["name"]: item["verdict"] for item in json.loads(result.stdout)["items"]}


def test_all_well_without_a_host(run):
    result = run("doctor", "--no-host", "--json")
    assert result.exit_code == 0
    assert verdicts(result) == {"config": "ok", "controller": "ok", "clock": "ok", "token": "ok"}


def test_a_config_that_does_not_parse_is_named(run, tmp_path):
    path = tmp_path / "evenkeel.toml"
    path.write_text("[agent]\ntick_s = -1\n")
    result = run("doctor", "--config", str(path))
    assert result.exit_code == 1
    assert "tick_s" in result.stdout


def test_no_controller_fails_and_says_what_to_do(run, api):
    api.broken = ConnectError("refused")
    result = run("doctor", "--no-host")
    assert result.exit_code == 1
    assert "✗  controller" in result.stdout
    assert "Is `evenkeel controller` running" in result.stdout


@pytest.mark.parametrize(
    ("token", "verdict", "words"),
    [
        ("admin-token", "ok", "an admin's"),
        ("shop-token", "ok", "a tenant's"),
        ("agent-token", "warn", "an agent's"),
        ("wrong", "fail", "unauthenticated"),
        ("", "fail", "no token is set"),
    ],
)
def test_the_tokens_role_shows(run, monkeypatch, token, verdict, words):
    monkeypatch.setenv("EVENKEEL_TOKEN", token)
    result = run("doctor", "--no-host", "--json")
    (check,) = [c for c in json.loads(result.stdout)["items"] if c["name"] == "token"]
    assert check["verdict"] == verdict
    assert words in check["line"]


@pytest.mark.parametrize(
    ("skew_s", "verdict"), [(0, "ok"), (-2, "ok"), (10, "warn"), (-900, "fail")]
)
def test_clock_skew(run, api, skew_s, verdict):
    api.skew_s = skew_s
    assert verdicts(run("doctor", "--no-host", "--json"))["clock"] == verdict


@dataclass(frozen=True)
class Finding:
    check: str
    ok: bool | None
    message: str = "so it is"
    hint: str = "do this"


def test_what_the_host_offers(monkeypatch):
    """What the agent cannot do without fails; what costs it a feature warns."""
    findings = [
        Finding("libvirt", False),
        Finding("run-queue delay", False),
        Finding("quota", False),
        Finding("uplink", None),
        Finding("pressure", True),
    ]
    diagnose = SimpleNamespace(diagnose=lambda _config, _clock: findings)
    monkeypatch.setitem(sys.modules, "evenkeel.adapters.libvirt.diagnose", diagnose)
    monkeypatch.setitem(sys.modules, "evenkeel.adapters.clock", SimpleNamespace(SystemClock=object))
    found = checks._libvirt(AgentConfig())
    assert [check.verdict for check in found] == [FAIL, FAIL, WARN, WARN, OK]
    assert found[0] == Check("libvirt", FAIL, "so it is", "do this")


def test_a_host_without_the_bindings_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "evenkeel.adapters.clock", SimpleNamespace(SystemClock=object))
    monkeypatch.setitem(sys.modules, "evenkeel.adapters.libvirt.diagnose", None)
    (found,) = checks._libvirt(AgentConfig())
    assert found.verdict is FAIL
    assert "evenkeel[agent]" in found.hint


def test_a_state_directory_that_cannot_be_written(tmp_path: Path):
    a_file = tmp_path / "state"
    a_file.write_text("")
    found = checks._state_dir(a_file, 64)
    assert found.verdict is FAIL
    assert str(a_file) in found.line


def test_a_state_directory_with_too_little_room(tmp_path: Path):
    assert checks._state_dir(tmp_path, 64).verdict is OK
    assert checks._state_dir(tmp_path, 1e12).verdict is WARN
    assert list(tmp_path.iterdir()) == []
    assert checks._state_dir(tmp_path / "new", 64).verdict is WARN


def a_journal(path: Path, *rows: tuple[int, float]) -> Path:
    with sqlite3.connect(path) as journal:
        journal.execute("CREATE TABLE mitigation (id TEXT, open INTEGER, body BLOB)")
        for i, (is_open, expires_at_s) in enumerate(rows):
            body = json.dumps({"expires_at_s": expires_at_s}).encode()
            journal.execute("INSERT INTO mitigation VALUES (?, ?, ?)", (str(i), is_open, body))
    journal.close()
    return path


def test_changes_left_in_force_past_their_expiry(tmp_path: Path):
    path = a_journal(tmp_path / "journal.db", (1, NOW_S - 5), (1, NOW_S + 60), (0, NOW_S - 99))
    found = checks._journal(path, NOW_S)
    assert found.verdict is FAIL
    assert "1 changes are in force past their expiry" in found.line
    assert "evenkeel agent --restore" in found.hint


def test_a_calm_journal_and_none_at_all(tmp_path: Path):
    path = a_journal(tmp_path / "journal.db", (1, NOW_S + 60))
    assert checks._journal(path, NOW_S) == Check(
        "journal", OK, "1 changes in force, none past its expiry"
    )
    assert checks._journal(tmp_path / "none.db", NOW_S).verdict is OK


def test_a_damaged_journal(tmp_path: Path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database" * 100)
    assert checks._journal(path, NOW_S).verdict is FAIL


def test_the_agents_token_file(tmp_path: Path):
    path = tmp_path / "agent.token"
    agent = AgentConfig(controller_url="http://c", token_file=str(path))
    assert checks._agent_token(AgentConfig()).verdict is WARN
    assert checks._agent_token(agent).verdict is FAIL
    path.write_text("secret")
    path.chmod(0o644)
    assert checks._agent_token(agent).verdict is WARN
    path.chmod(0o600)
    found = checks._agent_token(agent)
    assert found.verdict is OK
    assert "secret" not in found.line


def test_an_error_is_printed_as_it_is(run, api):
    api.broken = ConnectError("[bold]markup[/]")
    assert "[bold]markup[/]" in run("status").stderr
