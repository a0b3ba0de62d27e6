"""`evenkeel claim` and `calendar` against the whole API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli_on_api import Run, cli_on
from tests.controller_app import Api, open_api
from tests.stored import host_record

from evenkeel.cli.times import TimeInvalid, instant_s, span_s
from evenkeel.domain.instants import shown


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = open_api(tmp_path)
    with api.services.store.write() as session:
        for name in ("h1", "h2"):
            session.inventory.put_host(host_record(name))
    yield api
    api.services.claims.close()
    api.services.store.close()


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("time.time", api.clock.wall_s)
    return cli_on(api, monkeypatch)


def made(run: Run, *args: str) -> dict[str, Any]:
    result = run("claim", "create", *args, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def held(claim: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(lot["host"], lot["resource"], lot["n_shards"]) for lot in claim["lots"]]


def test_create_takes_whole_shards_on_every_host(run: Run) -> None:
    claim = made(run, "h1", "h2", "--cpu", "0.51", "--memory", "100", "--for", "90m")
    assert held(claim) == [
        ("h1", "cpu", 11),
        ("h1", "memory", 2),
        ("h2", "cpu", 11),
        ("h2", "memory", 2),
    ]
    assert claim["end_s"] - claim["start_s"] == 5400


def test_change_keeps_what_is_not_named(run: Run) -> None:
    claim = made(run, "h1", "--cpu", "1", "--memory", "128", "--class", "pinned")
    changed = run("claim", "change", claim["id"], "--cpu", "1.5", "--until", "+2h", "--json")
    assert changed.exit_code == 0, changed.output
    told = json.loads(changed.stdout)
    assert sorted(held(told)) == [("h1", "cpu", 30), ("h1", "memory", 2)]
    assert {lot["performance"] for lot in told["lots"]} == {"pinned"}
    moved = json.loads(run("claim", "change", claim["id"], "--move-to", "h2", "--json").stdout)
    assert sorted(held(moved)) == [("h2", "cpu", 30), ("h2", "memory", 2)]
    less = json.loads(run("claim", "change", claim["id"], "--memory", "0", "--json").stdout)
    assert held(less) == [("h2", "cpu", 30)]


def test_show_list_calendar_release(run: Run) -> None:
    claim = made(run, "h1", "--cpu", "1", "--owner", "shop", "--vm", "id-web1")
    assert "shard://local/local/h1/cpu/" in run("claim", "show", claim["id"]).stdout
    listed = run("claim", "list", "--host", "h1").stdout
    assert claim["id"] in listed
    assert "1 cores cpu on h1" in listed
    calendar = run("calendar", "h1")
    assert calendar.exit_code == 0
    assert "nobody knows" in calendar.stdout
    assert "1 lots on h1" in calendar.stdout
    told = json.loads(run("calendar", "h1", "--until", "+7d", "--json").stdout)
    assert told["until_s"] - told["since_s"] == 7 * 86_400
    released = run("claim", "release", claim["id"])
    assert "ended" in released.stdout
    assert "no claims" in run("claim", "list").stdout


def test_split_and_merge(run: Run) -> None:
    whole = made(run, "h1", "h2", "--cpu", "1", "--owner", "shop")
    assert run("claim", "split", whole["id"], "--cpu", "0.3").exit_code == 2
    args = ("claim", "split", whole["id"], "--cpu", "0.3", "--host", "h2", "--json")
    part = json.loads(run(*args).stdout)
    assert (held(part), part["owner"]) == ([("h2", "cpu", 6)], "shop")
    merged = json.loads(run("claim", "merge", whole["id"], part["id"], "--json").stdout)
    assert sorted(held(merged)) == [("h1", "cpu", 20), ("h2", "cpu", 6), ("h2", "cpu", 14)]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["h1", "--cpu", "99"], 5, "capacity_short"),
        (["h9", "--cpu", "1"], 5, "host_unknown"),
        (["h1"], 2, "claim_invalid"),
        (["h1", "--cpu", "-1"], 2, "claim_invalid"),
        (["h1", "--cpu", "1", "--for", "10y"], 2, "time_invalid"),
        (["h1", "--cpu", "1", "--for", "3650d"], 2, "claim_invalid"),
        (["h1", "--cpu", "1", "--start", "yesterday"], 2, "time_invalid"),
        (["h1", "--cpu", "1", "--until", "2001-01-01"], 2, "claim_invalid"),
    ],
)
def test_refusals_are_told_with_code_and_hint(
    run: Run, args: list[str], code: int, says: str
) -> None:
    result = run("claim", "create", *args)
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert "hint:" in result.stderr


def test_times_as_people_type_them() -> None:
    now_s = 1_800_000_000.7
    assert instant_s("now", now_s) == 1_800_000_000
    assert instant_s("+1.5h", now_s) == 1_800_005_400
    assert instant_s("1800000001", now_s) == 1_800_000_001
    assert instant_s("2027-01-15T08:00:00", now_s) == 1_800_000_000
    assert instant_s("2027-01-15T09:00:00+01:00", now_s) == 1_800_000_000
    assert shown(1_800_000_000) == "2027-01-15 08:00:00"
    assert span_s("90") == 90
    for wrong in ("", "h", "1x", "-1h", "1e9"):
        with pytest.raises(TimeInvalid):
            span_s(wrong)
