"""Which VMs should move? Over the API, on hosts that agents reported; nothing is executed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from tests.batches import a_batch, a_vm
from tests.controller_app import Api, bearer


def report(api: Api, host: str, cores: dict[str, float], seq: int = 1, **facts: Any) -> None:
    """A host with two CPUs and 4096 MiB whose VMs want so many cores each."""
    at_s = api.clock.now_s
    vms = [replace(a_vm(name), **facts) for name in cores]
    batch = a_batch(seq, host, vms, at_s=at_s, sent_at_s=at_s)
    assert batch.tick is not None
    demand = [
        [wanted, *row[1:]] for wanted, row in zip(cores.values(), batch.tick.demand, strict=True)
    ]
    api.deliver(
        msgspec.structs.replace(batch, tick=msgspec.structs.replace(batch.tick, demand=demand))
    )


def ask(api: Api, what: str = "consolidate", **params: Any) -> dict[str, Any]:
    told: dict[str, Any] = api.get(f"/v1/plans/{what}", **params)
    return told


@pytest.fixture
def fleet(api: Api) -> Api:
    report(api, "h1", {"web1": 0.2, "web2": 0.1})
    report(api, "h2", {"db1": 0.1})
    return api


def test_the_emptier_of_two_hosts_is_emptied(fleet: Api) -> None:
    told = ask(fleet)
    [move] = told["moves"]
    assert (move["vm"], move["name"], move["source"], move["target"]) == (
        "id-db1",
        "db1",
        "h2",
        "h1",
    )
    assert (told["before"]["n_in_use"], told["after"]["n_in_use"]) == (2, 1)
    assert (told["floor_hosts"], told["gap"], told["from_best"]) == (1, 0.0, 0.0)
    assert told["saved_host_hours"] == pytest.approx(24, abs=0.2)
    assert ask(fleet) == told, "asking changes nothing"


def test_what_does_not_pay_or_may_not_be_is_left_and_said(fleet: Api) -> None:
    told = ask(fleet, payback_h=0.01)
    assert told["moves"] == []
    assert {left["code"] for left in told["left"]} == {"does_not_pay"}
    assert {left["code"] for left in ask(fleet, moves=0)["left"]} == {"budget"}
    assert {left["code"] for left in ask(fleet, inflow=0)["left"]} == {"no_room"}


def test_exempt_vms_and_silent_hosts_stay(api: Api) -> None:
    report(api, "h1", {"web1": 0.2}, exempt=True)
    report(api, "h2", {"db1": 0.1})
    assert [move["vm"] for move in ask(api)["moves"]] == ["id-db1"]
    api.clock.now_s += 3600
    report(api, "h2", {"db1": 0.1}, seq=2)
    told = ask(api)
    assert told["moves"] == []
    assert {left["code"] for left in told["left"]} == {"bound", "no_room"}


def test_a_reservation_of_tomorrow_keeps_its_room(fleet: Api) -> None:
    tomorrow = int(fleet.clock.now_s) + 20 * 3600
    asks = [{"host": "h1", "resource": "cpu", "n_shards": 38, "performance": "pinned"}]
    claim = {"key": "k", "start_s": tomorrow, "end_s": tomorrow + 3600, "asks": asks}
    answer = fleet.client.post("/v1/claims", json=claim, headers=bearer(fleet.admin))
    assert answer.status_code in (200, 201), answer.text
    told = ask(fleet, risk=0.05)
    assert {move["target"] for move in told["moves"]} == {"h2"}, "1.9 of h1's 2 cores are promised"


def test_who_moved_lately_stays(fleet: Api) -> None:
    report(fleet, "h2", {}, seq=2)
    fleet.clock.now_s += 5
    report(fleet, "h3", {"db1": 0.1})
    assert fleet.get("/v1/events")["items"][0]["kind"] == "vm_moved"
    told = ask(fleet)
    assert {move["vm"] for move in told["moves"]} == {"id-web1", "id-web2"}
    fleet.clock.now_s += 10
    assert [move["vm"] for move in ask(fleet, cooldown_s=10)["moves"]] == ["id-db1"]


def test_a_host_at_risk_is_relieved(api: Api) -> None:
    report(api, "busy", {"web1": 0.7, "web2": 0.7, "web3": 0.7})
    report(api, "calm", {"db1": 0.1})
    told = ask(api, "rebalance", risk=0.3)
    assert {move["target"] for move in told["moves"]} == {"calm"}
    assert (told["before"]["n_at_risk"], told["after"]["n_at_risk"]) == (1, 0)
    assert ask(api, "rebalance", alarm=0.499, risk=0.49)["before"]["worst_odds"] > 0.5


def test_an_empty_fleet_is_no_error(api: Api) -> None:
    for what in ("consolidate", "rebalance"):
        told = ask(api, what)
        assert (told["moves"], told["left"], told["floor_hosts"]) == ([], [], 0)


@pytest.mark.parametrize(
    "query", ["risk=0", "risk=0.7", "moves=-1", "at_once=0", "payback_h=nan", "cooldown_s=-1"]
)
def test_nonsense_is_refused(fleet: Api, query: str) -> None:
    answer = fleet.client.get(f"/v1/plans/consolidate?{query}", headers=bearer(fleet.admin))
    assert fleet.refused(answer)[0] == 422


def test_only_operators_may_ask(api: Api) -> None:
    for role in ("tenant", "agent"):
        token = api.token(role, "shop")
        answer = api.client.get("/v1/plans/rebalance", headers=bearer(token))
        assert api.refused(answer) == (403, "forbidden")


def test_a_host_in_maintenance_takes_nobody_but_may_be_emptied(fleet: Api) -> None:
    put = fleet.client.put("/v1/maintenance/h1", json={}, headers=bearer(fleet.admin))
    assert put.status_code == 204
    assert {move["target"] for move in ask(fleet)["moves"]} == {"h2"}
