"""`evenkeel place` and `maintenance` against the whole API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.batches import a_batch, a_vm
from tests.cli_on_api import Run, cli_on
from tests.controller_app import Api, open_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = open_api(tmp_path)
    at_s = api.clock.now_s
    for host in ("h1", "h2"):
        batch = a_batch(1, host, [a_vm(f"{host}-vm")], at_s=at_s, sent_at_s=at_s)
        assert batch.tick is not None
        demand = [[0.1, *row[1:]] for row in batch.tick.demand]
        tick = msgspec.structs.replace(batch.tick, demand=demand)
        api.deliver(msgspec.structs.replace(batch, tick=tick))
    yield api
    api.services.claims.close()
    api.services.store.close()


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    return cli_on(api, monkeypatch)


SMALL = ("--vcpus", "1", "--memory", "256", "--wants-cpu", "0.2")


def test_a_vm_is_placed_and_the_reason_is_told(run: Run, api: Api) -> None:
    ran = run("place", "web1", *SMALL)
    assert ran.exit_code == 0, ran.output
    assert "2 of 2 hosts take it" in ran.output
    assert len(api.get("/v1/claims")["items"]) == 1


def test_a_refusal_is_explained_and_exits_with_5(run: Run) -> None:
    ran = run("place", "huge", "--vcpus", "64", "--memory", "256")
    assert ran.exit_code == 5
    assert "huge refused (larger_than_any_host)" in ran.output
    assert "2 hosts are too small in CPU: h1, h2" in ran.output
    assert "The largest have 2 cores" in ran.output


def test_the_interval_is_told_as_for_claims(run: Run) -> None:
    ended = run("place", "web", *SMALL, "--start", "1000", "--until", "900", "--dry-run")
    assert ended.exit_code == 2
    assert "claim_invalid" in ended.output


def test_rules_and_hosts_are_passed_on(run: Run, api: Api) -> None:
    told = [
        json.loads(run("place", f"web{i}", *SMALL, "--label", "w", "--apart", "w", "--json").stdout)
        for i in range(2)
    ]
    assert {one["outcomes"][0]["host"] for one in told} == {"h1", "h2"}
    ran = run("place", "near", *SMALL, "--near", "w", "--never", "h1", "--dry-run", "--json")
    assert json.loads(ran.stdout)["outcomes"][0]["host"] == "h2"
    assert len(api.get("/v1/claims")["items"]) == 2


def test_many_from_a_file_all_or_nothing(run: Run, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "vms.json"
    one = {"vcpus": 1, "memory_mib": 256, "wants": {"cpu": 0.1}}
    file.write_text(json.dumps([{"vm": "a", **one}, {"vm": "b", **one, "vcpus": 99, "wants": {}}]))
    ran = run("place", "--file", str(file), "--all-or-nothing")
    assert ran.exit_code == 5
    assert "it was to be all or nothing" in ran.output
    assert api.get("/v1/claims")["items"] == []
    assert run("place", "--file", str(file)).exit_code == 5
    assert len(api.get("/v1/claims")["items"]) == 1


@pytest.mark.parametrize("text", ["nothing", "{}", "[1]", None])
def test_a_file_that_holds_no_vms_is_refused(run: Run, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "vms.json"
    if text is not None:
        file.write_text(text)
    ran = run("place", "--file", str(file))
    assert ran.exit_code != 0
    assert "invalid_request" in ran.output
    assert run("place").exit_code != 0


def test_maintenance_begins_is_listed_and_ends(run: Run) -> None:
    assert "no host is in maintenance" in run("maintenance").output
    assert "new disks" in run("maintenance", "h1", "--reason", "new disks").output
    assert run("place", "web", *SMALL, "--only", "h1").exit_code == 5
    assert "no host" in run("maintenance", "h1", "--end").output
    assert run("place", "web", *SMALL, "--only", "h1").exit_code == 0
    assert run("maintenance", "--end").exit_code != 0
    assert run("maintenance", "nowhere").exit_code != 0
