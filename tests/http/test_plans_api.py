"""Which VMs should move? Over the API, on hosts that agents reported; nothing is executed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.batches import a_batch, a_vm
from tests.controller_app import Api, bearer, open_api

from evenkeel.api.app import create_app
from evenkeel.controller.advising import AdviceService, Advising
from evenkeel.domain.errors import StoreUnavailable
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.placement import Group, Relation, Rule, Scope, Terms


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


def maintain(api: Api, host: str) -> None:
    put = api.client.put(f"/v1/maintenance/{host}", json={}, headers=bearer(api.admin))
    assert put.status_code == 204


def placed(api: Api, name: str, **terms: Any) -> str:
    """A VM on terms; the host that it was placed on."""
    vm = {"vm": name, "vcpus": 1, "memory_mib": 256, "wants": {"cpu": 0.2}, **terms}
    answer = api.client.post("/v1/placements", json={"vms": [vm]}, headers=bearer(api.admin))
    [outcome] = answer.json()["outcomes"]
    assert outcome["placed"], outcome
    host: str = outcome["host"]
    return host


@pytest.mark.parametrize("what", ["consolidate", "rebalance"])
def test_a_host_in_maintenance_takes_nobody_and_is_emptied_though_it_does_not_pay(
    fleet: Api, what: str
) -> None:
    maintain(fleet, "h1")
    told = ask(fleet, what, payback_h=0)
    assert {(move["vm"], move["target"]) for move in told["moves"]} == {
        ("id-web1", "h2"),
        ("id-web2", "h2"),
    }


def test_whom_no_rule_lets_go_stays_and_it_is_said(fleet: Api) -> None:
    placed(fleet, "web1", only=["h1"])
    maintain(fleet, "h1")
    told = ask(fleet)
    assert [move["vm"] for move in told["moves"]] == ["id-web2"]
    assert ("h1", "no_room") in [(left["host"], left["code"]) for left in told["left"]]


def test_plans_keep_apart_who_was_placed_apart(api: Api) -> None:
    for host in ("h1", "h2", "h3"):
        report(api, host, {f"{host}-vm": 0.1}, exempt=True)
    apart = {"labels": ["web"], "rules": [{"relation": "apart", "label": "web"}]}
    placed(api, "web1", only=["h1"], **apart)
    placed(api, "web2", only=["h2"], **apart)
    report(api, "h1", {"h1-vm": 0.1, "web1": 0.2}, seq=2)
    report(api, "h2", {"h2-vm": 0.1}, seq=2, exempt=True)
    maintain(api, "h1")

    def web1() -> list[str]:
        return [move["target"] for move in ask(api)["moves"] if move["name"] == "web1"]

    # web2 has its place on h2 and does not run yet; and web1 is on the only host that it may be.
    assert web1() == []
    with api.services.store.write() as session:
        terms = session.terms.all()
        free = {vm: replace(of, only=frozenset()) for vm, of in terms.items()}
        session.terms.put(free, 1.0)
    assert web1() == ["h3"]


def test_fault_domains_count(api: Api) -> None:
    for host, rack in (("h1", "r1"), ("h2", "r2"), ("h3", "r2")):
        at_s = api.clock.now_s
        batch = a_batch(1, host, [a_vm(f"vm-{host}")], at_s=at_s, sent_at_s=at_s)
        api.deliver(msgspec.structs.replace(batch, host=replace(batch.host, fault_domain=rack)))
    with api.services.store.write() as session:
        group = Group(TenantId("default"), "db")
        rule = Rule(Relation.APART, group, Scope.FAULT_DOMAIN)
        terms = Terms(TenantId("default"), frozenset({"db"}), (rule,))
        session.terms.put({VmId("id-vm-h1"): terms, VmId("id-vm-h3"): terms}, 1.0)
    maintain(api, "h1")
    assert ask(api, risk=0.4)["moves"] == [], "both other hosts are in the rack of the other one"


def reserve(api: Api, host: str, vm: str, cores: float, hours: tuple[float, float]) -> None:
    now_s = int(api.clock.now_s)
    asks = [{"host": host, "resource": "cpu", "n_shards": int(cores * 20), "performance": "pinned"}]
    start_s, end_s = (now_s + int(3600 * at) for at in hours)
    claim = {"key": f"{vm}/{host}", "vm": vm, "start_s": start_s, "end_s": end_s, "asks": asks}
    answer = api.client.post("/v1/claims", json=claim, headers=bearer(api.admin))
    assert answer.status_code in (200, 201), answer.text


def test_a_vm_takes_its_lots_along_where_they_fit_to_their_end(fleet: Api) -> None:
    reserve(fleet, "h2", "id-db1", 0.5, (0, 200))
    [move] = ask(fleet)["moves"]
    assert (move["vm"], move["target"]) == ("id-db1", "h1")
    [lot] = move["lots"]
    now_s = int(fleet.clock.now_s)
    assert (lot["resource"], lot["n_shards"]) == ("cpu", 10)
    assert (lot["start_s"], lot["end_s"]) == (now_s, now_s + 200 * 3600)
    assert lot["name"].startswith("shard://local/local/h2/cpu/")


def test_a_reservation_that_begins_after_all_slots_keeps_its_room(fleet: Api) -> None:
    reserve(fleet, "h2", "id-db1", 0.5, (0, 200))
    reserve(fleet, "h1", "", 1.75, (190, 210))
    told = ask(fleet)
    assert "id-db1" not in {move["vm"] for move in told["moves"]}
    assert {move["target"] for move in told["moves"]} == {"h2"}, "those without lots may go"


def look(api: Api) -> Any:
    """As the controller's thread does every few minutes."""
    assert api.services.advice is not None
    return api.services.advice.look()


def told_of_plans(api: Api) -> list[str]:
    events = api.get("/v1/events")["items"]
    return [event["message"] for event in events if event["kind"] == "plan_advised"]


def at_a_time_for_emptying(api: Api) -> None:
    """Every other look empties hosts."""
    api.clock.now_s += -api.clock.now_s % 600


def test_advice_is_kept_told_once_and_its_rest_is_shown(api: Api) -> None:
    at_a_time_for_emptying(api)
    report(api, "h1", {"web1": 0.2, "web2": 0.1})
    report(api, "h2", {"db1": 0.1})
    report(api, "h3", {"db2": 0.1})
    answer = api.client.get("/v1/plans/advice", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "advice_unavailable")
    look(api)
    first = api.get("/v1/plans/advice")
    assert {(move["source"], move["target"]) for move in first["moves"]} == {
        ("h2", "h1"),
        ("h3", "h1"),
    }
    assert (first["turn"], first["trouble"]) == ("first", "")
    assert len(told_of_plans(api)) == 1
    assert "hosts in use 3 -> 1" in told_of_plans(api)[0]
    for seq in (2, 3):
        api.clock.now_s += 300
        report(api, "h1", {"web1": 0.2, "web2": 0.1}, seq=seq)
        report(api, "h2", {"db1": 0.1}, seq=seq)
        report(api, "h3", {"db2": 0.1}, seq=seq)
        look(api)
    kept = api.get("/v1/plans/advice")
    assert (kept["moves"], kept["since_s"]) == (first["moves"], first["since_s"])
    assert kept["looked_at_s"] == first["looked_at_s"] + 600
    report(api, "h1", {"web1": 0.2, "web2": 0.1, "db1": 0.1}, seq=4)
    report(api, "h2", {}, seq=4)
    look(api)
    rest = api.get("/v1/plans/advice")
    assert [move["name"] for move in rest["moves"]] == ["db2"]
    assert rest["since_s"] == first["since_s"]
    assert len(told_of_plans(api)) == 1


def test_a_host_that_is_to_be_emptied_changes_the_advice_at_once(api: Api) -> None:
    at_a_time_for_emptying(api)
    report(api, "h1", {"web1": 0.2, "web2": 0.1})
    report(api, "h2", {"db1": 0.1})
    look(api)
    maintain(api, "h1")
    look(api)
    now = api.get("/v1/plans/advice")
    assert now["turn"] == "impossible"
    assert {(move["source"], move["target"]) for move in now["moves"]} == {("h1", "h2")}
    assert len(told_of_plans(api)) == 2


def test_a_host_that_comes_to_be_at_risk_is_added_to_the_advice(api: Api) -> None:
    at_a_time_for_emptying(api)
    names = ("h1", "h2", "h3", "h4")
    for host in names:
        report(api, host, {f"{host}-a": 0.05, f"{host}-b": 0.05}, exempt=host in names[:2])
    look(api)
    first = api.get("/v1/plans/advice")
    assert {move["source"] for move in first["moves"]} == {"h3", "h4"}
    wants = {"h1-a": 0.42, "h1-b": 0.42, "h1-c": 0.42}
    api.clock.now_s += 300
    report(api, "h1", wants, seq=2)
    for host in names[1:]:
        more = {f"{host}-a": 0.05, f"{host}-b": 0.05}
        report(api, host, more, seq=2, exempt=host == "h2")
    look(api)
    now = api.get("/v1/plans/advice")
    assert now["after"]["n_at_risk"] == 0
    assert "h1" in {move["source"] for move in now["moves"]}


def test_a_look_that_fails_leaves_what_is_known_and_says_so(api: Api) -> None:
    at_a_time_for_emptying(api)
    report(api, "h1", {"web1": 0.2, "web2": 0.1})
    report(api, "h2", {"db1": 0.1})
    look(api)
    advice = api.services.advice
    assert advice is not None
    plans, advice._plans = advice._plans, Broken()  # type: ignore[assignment]
    assert look(api) is None
    assert api.get("/v1/plans/advice")["trouble"] == "store_unavailable: the disk is full"
    advice._plans = plans
    assert look(api) is not None
    assert api.get("/v1/plans/advice")["trouble"] == ""


class Broken:
    def laid_out(self, wanted: Any) -> Any:
        raise StoreUnavailable("the disk is full")


def test_a_fleet_without_hosts_has_no_advice_and_no_trouble(api: Api) -> None:
    look(api)
    assert api.get("/v1/plans/advice")["moves"] == []
    assert told_of_plans(api) == []


def test_the_controller_looks_by_itself_and_stops_when_it_ends(tmp_path: Path) -> None:
    api = open_api(tmp_path)
    services = replace(
        api.services,
        advice=AdviceService(
            api.services.plans, api.services.store, api.clock, Advising(every_s=0.05)
        ),
    )
    with TestClient(create_app(services)) as client:
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            answer = client.get("/v1/plans/advice", headers=bearer(api.admin))
            if answer.status_code == 200:
                break
            time.sleep(0.05)
        assert answer.status_code == 200, answer.text
        assert "advice" in {thread.name for thread in threading.enumerate()}
    assert "advice" not in {thread.name for thread in threading.enumerate()}
