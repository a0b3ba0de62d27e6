"""Where does this VM go? Over the API, on hosts that agents reported, with real claims."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.batches import a_batch, a_vm
from tests.controller_app import Api, bearer


def report(api: Api, host: str, *names: str, seq: int = 1) -> None:
    """A host with two CPUs and 4096 MiB whose VMs want a tenth of a core each."""
    at_s = api.clock.now_s
    batch = a_batch(seq, host, [a_vm(name) for name in names], at_s=at_s, sent_at_s=at_s)
    assert batch.tick is not None
    demand = [[0.1, *row[1:]] for row in batch.tick.demand]
    api.deliver(
        msgspec.structs.replace(batch, tick=msgspec.structs.replace(batch.tick, demand=demand))
    )


def ask(api: Api, *vms: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = api.client.post(
        "/v1/placements", json={"vms": list(vms), **more}, headers=bearer(api.admin)
    )
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def small(name: str = "new", **fields: Any) -> dict[str, Any]:
    return {"vm": name, "vcpus": 1, "memory_mib": 256, "wants": {"cpu": 0.2}, **fields}


@pytest.fixture
def fleet(api: Api) -> Api:
    report(api, "h1", "web1")
    report(api, "h2", "db1")
    return api


def test_a_vm_gets_a_host_a_claim_and_a_reason(fleet: Api) -> None:
    told = ask(fleet, small())
    [outcome] = told["outcomes"]
    assert (told["n_placed"], told["n_refused"]) == (1, 0)
    assert outcome["host"] in ("h1", "h2")
    assert "2 of 2 hosts take it" in outcome["why"]
    assert outcome["options"][0]["cpus"] == [0, 1]
    claim = fleet.get(f"/v1/claims/{outcome['claim']}")
    assert claim["vm"] == "new"
    assert {lot["resource"] for lot in claim["lots"]} == {"cpu", "memory"}


def test_a_dry_run_reserves_nothing(fleet: Api) -> None:
    told = ask(fleet, small(), dry_run=True)
    assert told["outcomes"][0]["claim"] is None
    assert fleet.get("/v1/claims")["items"] == []
    assert ask(fleet, small())["n_placed"] == 1


def test_the_model_itself_can_be_asked_about_the_finalists(fleet: Api) -> None:
    [outcome] = ask(fleet, small(), dry_run=True, precise=True)["outcomes"]
    assert "contention model expects" in outcome["why"]
    assert len(outcome["options"]) == 2


def test_a_placed_vm_has_its_place_until_its_claim_is_released(fleet: Api) -> None:
    first = ask(fleet, small())["outcomes"][0]
    answer = fleet.client.post(
        "/v1/placements", json={"vms": [small()]}, headers=bearer(fleet.admin)
    )
    assert fleet.refused(answer) == (409, "already_placed")
    gone = fleet.client.delete(f"/v1/claims/{first['claim']}", headers=bearer(fleet.admin))
    assert gone.status_code < 300
    fleet.clock.now_s += 5
    assert ask(fleet, small())["n_placed"] == 1


def test_what_was_placed_counts_after_the_fleet_is_looked_at_anew(fleet: Api) -> None:
    ask(fleet, small("large", wants={"cpu": 1.0}, deviation={"cpu": 0.1}, only=["h1"]))
    fleet.clock.now_s += 120
    report(fleet, "h1", "web1", seq=2)
    report(fleet, "h2", "db1", seq=2)
    other = small("other", wants={"cpu": 0.9}, deviation={"cpu": 0.1}, only=["h1"])
    [outcome] = ask(fleet, other)["outcomes"]
    assert not outcome["placed"]
    assert {r["code"]: r["n_hosts"] for r in outcome["reasons"]} == {
        "short_cpu": 1,
        "not_listed": 1,
    }


def test_labels_keep_apart_and_refusals_are_explained(fleet: Api) -> None:
    apart = {"labels": ["web"], "rules": [{"relation": "apart", "label": "web"}]}
    told = ask(fleet, *(small(f"web-{i}", **apart) for i in range(3)))
    placed = {o["host"] for o in told["outcomes"] if o["placed"]}
    assert placed == {"h1", "h2"}
    [refused] = [o for o in told["outcomes"] if not o["placed"]]
    assert refused["code"] == "no_host_fits"
    assert refused["reasons"][0] == {
        "code": "apart",
        "text": "are closed to it: must be on a host without label 'web' of default",
        "n_hosts": 2,
        "examples": ["h1", "h2"],
    }


def test_all_or_nothing(fleet: Api) -> None:
    told = ask(fleet, small("a"), small("b", vcpus=64, wants={}), all_or_nothing=True)
    assert (told["n_placed"], told["n_refused"]) == (0, 2)
    assert {o["vm"]: o["code"] for o in told["outcomes"]} == {
        "a": "no_host_fits",
        "b": "larger_than_any_host",
    }
    assert fleet.get("/v1/claims")["items"] == []


def test_like_another_vm_has_its_size(fleet: Api) -> None:
    [outcome] = ask(fleet, {"vm": "twin", "like": "web1"}, dry_run=True)["outcomes"]
    assert outcome["placed"], outcome


def test_an_empty_fleet_refuses_and_does_not_fail(api: Api) -> None:
    [outcome] = ask(api, small())["outcomes"]
    assert outcome["code"] == "no_host_fits"


def test_silent_hosts_take_nobody(fleet: Api) -> None:
    fleet.clock.now_s += 3600
    [outcome] = ask(fleet, small())["outcomes"]
    assert [r["code"] for r in outcome["reasons"]] == ["closed"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"vms": []}, 422, "invalid_request"),
        ({"vms": [{"vm": "a"}]}, 422, "placement_invalid"),
        ({"vms": [{"vm": "a", "vcpus": 1.5, "memory_mib": 1}]}, 422, "invalid_request"),
        ({"vms": [{"vm": "a", "vcpus": -1, "memory_mib": 1}]}, 422, "invalid_request"),
        ({"vms": [small(memory_mib=-5)]}, 422, "invalid_request"),
        ({"vms": [small(wants={"cpu": -1})]}, 422, "placement_invalid"),
        ({"vms": [small(wants={"cpu": 2})]}, 422, "placement_invalid"),
        ({"vms": [small(wants={"gpu": 1})]}, 422, "invalid_request"),
        ({"vms": [small("a"), small("a")]}, 422, "placement_invalid"),
        ({"vms": [small(like="nobody")]}, 404, "not_found"),
        ({"vms": [small(only=["elsewhere"])]}, 404, "unknown_host"),
        ({"vms": [small(only=["h1"], never=["h1"])]}, 422, "affinity_contradicts"),
        (
            {
                "vms": [
                    small(
                        rules=[
                            {"relation": "apart", "label": "x"},
                            {"relation": "together", "label": "x"},
                        ]
                    )
                ]
            },
            422,
            "affinity_contradicts",
        ),
        ({"vms": [small()], "start_s": 10, "end_s": 5}, 422, "claim_invalid"),
    ],
)
def test_what_cannot_be_asked_is_told(fleet: Api, body: Any, status: int, code: str) -> None:
    answer = fleet.client.post("/v1/placements", json=body, headers=bearer(fleet.admin))
    assert fleet.refused(answer) == (status, code)
    assert fleet.get("/v1/claims")["items"] == []


@pytest.mark.parametrize("interval", [{"start_s": 5, "end_s": 1000}, {"end_s": 2**39}])
def test_the_past_and_ten_years_are_refused_by_the_calendar(fleet: Api, interval: Any) -> None:
    for dry_run in (True, False):
        body = {"vms": [small()], "dry_run": dry_run, **interval}
        answer = fleet.client.post("/v1/placements", json=body, headers=bearer(fleet.admin))
        assert fleet.refused(answer) == (422, "claim_invalid")
        assert answer.json()["error"]["hint"]
    assert fleet.get("/v1/claims")["items"] == []


def test_only_operators_place(fleet: Api) -> None:
    for role in ("tenant", "agent"):
        answer = fleet.client.post(
            "/v1/placements", json={"vms": [small()]}, headers=bearer(fleet.token(role, "shop"))
        )
        assert fleet.refused(answer) == (403, "forbidden")


def test_nothing_comes_to_a_host_in_maintenance(fleet: Api) -> None:
    admin = bearer(fleet.admin)
    assert ask(fleet, small("before", only=["h1"]))["n_placed"] == 1
    put = fleet.client.put("/v1/maintenance/h1", json={"reason": "disks"}, headers=admin)
    assert put.status_code == 204
    assert fleet.get("/v1/maintenance")["items"][0] == {
        "host": "h1",
        "since_s": fleet.clock.wall_s(),
        "reason": "disks",
    }
    [outcome] = ask(fleet, small("during", only=["h1"]))["outcomes"]
    assert {r["code"]: r["examples"] for r in outcome["reasons"]} == {
        "closed": ["h1"],
        "not_listed": ["h2"],
    }
    for _ in range(2):  # what is so already is no error
        ended = fleet.client.delete("/v1/maintenance/h1", headers=admin)
        assert ended.status_code == 204
    assert ask(fleet, small("after", only=["h1"]))["n_placed"] == 1
    kinds = [event["kind"] for event in fleet.get("/v1/events", host="h1")["items"]]
    assert kinds.count("maintenance_began") == kinds.count("maintenance_ended") == 1
    answer = fleet.client.put("/v1/maintenance/nowhere", json={}, headers=admin)
    assert fleet.refused(answer) == (404, "not_found")


def test_labels_are_shown_with_the_vm_and_are_its_tenants_own(fleet: Api) -> None:
    web = {"labels": ["web", "blue"], "rules": [{"relation": "apart", "label": "web"}]}
    assert ask(fleet, small("web2", tenant="default", only=["h1"], **web))["n_placed"] == 1
    report(fleet, "h1", "web1", "web2", seq=2)
    [mine] = [vm for vm in fleet.get("/v1/vms")["items"] if vm["name"] == "web2"]
    assert mine["labels"] == ["blue", "web"]
    assert mine["rules"] == ["on a host without label 'web' of default", "on one of h1"]
    told = fleet.get("/v1/vms", token=fleet.token("tenant", "default"))["items"]
    assert [vm["rules"] for vm in told if vm["name"] == "web2"] == [mine["rules"][:1]]
    assert fleet.get("/v1/vms/web1")["labels"] == []


def test_a_place_on_other_terms_forgets_the_former_ones(fleet: Api) -> None:
    first = ask(fleet, small("web2", labels=["web"]))["outcomes"][0]
    fleet.client.delete(f"/v1/claims/{first['claim']}", headers=bearer(fleet.admin))
    fleet.clock.now_s += 5
    assert ask(fleet, small("web2"))["n_placed"] == 1
    with fleet.services.store.read() as session:
        assert session.terms.all() == {}
