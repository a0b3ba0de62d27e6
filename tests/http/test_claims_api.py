"""Claims and calendars over the API: what is answered, what is refused, who sees what."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controller_app import Api, bearer
from tests.stored import host_record


@pytest.fixture(autouse=True)
def hosts(api: Api) -> None:
    """h1 and h2 with 40 shards of CPU and 64 of memory each; how much network is not known."""
    with api.services.store.write() as session:
        for name in ("h1", "h2"):
            session.inventory.put_host(host_record(name))


def now(api: Api) -> int:
    return int(api.clock.wall_s())


def ask(n_shards: Any = 10, host: str = "h1", resource: str = "cpu", **more: Any) -> dict[str, Any]:
    return {"host": host, "resource": resource, "n_shards": n_shards, **more}


def claim(api: Api, key: str = "k", *asks: dict[str, Any], **fields: Any) -> Any:
    body = {
        "key": key,
        "owner": "shop",
        "vm": "id-web1",
        "start_s": now(api),
        "end_s": now(api) + 1000,
        "asks": list(asks) or [ask()],
        **fields,
    }
    return api.client.post("/v1/claims", json=body, headers=bearer(api.admin))


def patch(api: Api, claim_id: str, **body: Any) -> Any:
    return api.client.patch(f"/v1/claims/{claim_id}", json=body, headers=bearer(api.admin))


def test_a_claim_and_its_lots(api: Api) -> None:
    answer = claim(api, "k", ask(performance="pinned"), ask(4, "h2", "memory"))
    assert answer.status_code == 201
    told = answer.json()
    assert (told["state"], told["version"], told["owner"]) == ("active", 1, "shop")
    cpu, memory = told["lots"]
    assert cpu["name"] == f"shard://local/local/h1/cpu/{told['id']}.0"
    assert (cpu["amount"], cpu["unit"], cpu["performance"]) == (0.5, "cores", "pinned")
    assert (memory["amount"], memory["unit"], memory["state"]) == (256.0, "MiB", "active")
    assert api.get(f"/v1/claims/{told['id']}") == told
    assert api.get("/v1/claims") == {"items": [told], "next": None}
    assert claim(api, "k", ask(performance="pinned"), ask(4, "h2", "memory")).json() == told
    assert api.refused(claim(api, "k")) == (409, "key_reused")


def test_a_refusal_says_what_stood_in_the_way(api: Api) -> None:
    start_s = now(api) + 100
    claim(api, "a", ask(35, "h2"), start_s=start_s, end_s=start_s + 50)
    answer = claim(api, "b", ask(), ask(10, "h2"))
    assert answer.status_code == 409
    body = answer.json()
    assert body["obstacle"] == {
        "host": "h2",
        "resource": "cpu",
        "slot_start_s": start_s,
        "slot_end_s": start_s + 50,
        "asked": 10,
        "free": 5,
        "fits": 5,
        "from_s": start_s + 50,
    }
    assert body["error"]["code"] == "capacity_short"
    assert "h2" in body["error"]["message"]
    assert "5 would fit" in body["error"]["hint"]
    assert len(api.get("/v1/claims")["items"]) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"asks": [ask(2.5)]}, (422, "claim_invalid")),
        ({"asks": [ask(-1)]}, (422, "claim_invalid")),
        ({"asks": [ask(10**30)]}, (422, "claim_invalid")),
        ({"asks": []}, (422, "claim_invalid")),
        ({"asks": [ask(), ask(3)]}, (422, "claim_invalid")),
        ({"asks": [ask(demand=[{"mean": -1, "deviation": 0}])]}, (422, "shard_invalid")),
        ({"asks": [ask(41)]}, (409, "capacity_short")),
        ({"asks": [ask(host="h9")]}, (404, "host_unknown")),
        ({"asks": [ask(resource="net")]}, (409, "capacity_unknown")),
        ({"asks": [ask(resource="gpu")]}, (422, "invalid_request")),
        ({"start_s": 0}, (422, "claim_invalid")),
        ({"end_s": 0}, (422, "claim_invalid")),
        ({"end_s": 2**39}, (422, "claim_invalid")),
        ({"end_s": 10**300}, (422, "claim_invalid")),
        ({"start_s": 1.5}, (422, "claim_invalid")),
        ({"key": ""}, (422, "claim_invalid")),
        ({"key": "a\x00b"}, (422, "claim_invalid")),
        ({"asks": [ask(host="a\x00b")]}, (422, "claim_invalid")),
        ({"owner": "x" * 300}, (422, "claim_invalid")),
        ({"more": 1}, (422, "invalid_request")),
    ],
)
def test_bad_input_is_refused_and_nothing_is_half_claimed(
    api: Api, fields: dict[str, Any], code: tuple[int, str]
) -> None:
    answer = claim(api, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == code
    assert error["hint"] or code[1] == "invalid_request"
    assert api.get("/v1/claims", past=True)["items"] == []


def test_resize_extend_release(api: Api) -> None:
    told = claim(api).json()
    api.clock.now_s += 10
    grown = patch(api, told["id"], asks=[ask(20), ask(8, "h2")], end_s=told["end_s"] + 500)
    assert grown.status_code == 200
    assert grown.json()["version"] == 2
    assert [lot["n_shards"] for lot in grown.json()["lots"]] == [20, 8]
    assert patch(api, told["id"], asks=[ask(20), ask(8, "h2")]).json() == grown.json()
    assert api.refused(patch(api, told["id"], end_s=told["start_s"])) == (422, "claim_invalid")
    stale = patch(api, told["id"], end_s=told["end_s"], if_version=1)
    assert api.refused(stale) == (409, "claim_changed")
    assert api.refused(patch(api, told["id"])) == (422, "invalid_request")
    assert api.refused(patch(api, told["id"], asks=[ask(-1)])) == (422, "claim_invalid")
    assert patch(api, told["id"], asks=[ask(41)]).status_code == 409
    gone = api.client.delete(f"/v1/claims/{told['id']}", headers=bearer(api.admin))
    assert (gone.json()["state"], gone.json()["lots"]) == ("ended", [])
    assert api.get("/v1/claims")["items"] == []
    [past] = api.get("/v1/claims", past=True)["items"]
    assert [(lot["n_shards"], lot["end_s"] - lot["start_s"]) for lot in past["lots"]] == [(10, 10)]
    assert api.refused(patch(api, told["id"], end_s=told["end_s"])) == (409, "claim_ended")


def test_what_is_not_there(api: Api) -> None:
    assert api.refused(patch(api, "none", end_s=5)) == (404, "not_found")
    gone = api.client.delete("/v1/claims/none", headers=bearer(api.admin))
    assert api.refused(gone) == (404, "not_found")
    for path in ("/v1/claims/none", "/v1/hosts/none/calendar"):
        answer = api.client.get(path, headers=bearer(api.admin))
        assert api.refused(answer) == (404, "not_found")


def test_a_tenant_sees_its_own_and_changes_nothing(api: Api) -> None:
    mine, other = claim(api).json(), claim(api, "k2", owner="bank").json()
    shop = api.token("tenant", "shop")
    assert [c["id"] for c in api.get("/v1/claims", shop)["items"]] == [mine["id"]]
    assert api.get("/v1/claims", shop, owner="bank")["items"] == []
    assert api.get("/v1/claims", shop, host="h1")["items"] == [mine]
    assert api.get(f"/v1/claims/{mine['id']}", shop) == mine
    hidden = api.client.get(f"/v1/claims/{other['id']}", headers=bearer(shop))
    assert api.refused(hidden) == (404, "not_found")
    for method, path in (
        ("POST", "/v1/claims"),
        ("PATCH", f"/v1/claims/{mine['id']}"),
        ("DELETE", f"/v1/claims/{mine['id']}"),
        ("GET", "/v1/hosts/h1/calendar"),
    ):
        answer = api.client.request(method, path, headers=bearer(shop))
        assert api.refused(answer) == (403, "forbidden")


def test_lists_come_in_pages(api: Api) -> None:
    ids = {claim(api, f"k{k}", ask(1)).json()["id"] for k in range(5)}
    first = api.get("/v1/claims", limit=3)
    rest = api.get("/v1/claims", limit=3, cursor=first["next"])
    assert [len(first["items"]), len(rest["items"])] == [3, 2]
    assert {c["id"] for c in first["items"] + rest["items"]} == ids
    assert rest["next"] is None


def test_the_calendar_of_a_host(api: Api) -> None:
    at = now(api)
    claim(api, "a", ask(10), start_s=at, end_s=at + 100)
    claim(api, "b", ask(5), start_s=at + 50, end_s=at + 200)
    wanted = [{"mean": 1.0, "deviation": 0.2}]
    claim(
        api,
        "c",
        ask(32, resource="memory"),
        ask(40, demand=wanted),
        start_s=at + 300,
        end_s=at + 400,
    )
    told = api.get("/v1/hosts/h1/calendar", since_s=at, until_s=at + 1000)
    cpu, memory, net, _ = told["resources"]
    assert (cpu["capacity"], memory["capacity"], net["capacity"]) == (40, 64, None)
    shown = [(s["start_s"] - at, s["firm"], s["free"]) for s in cpu["slots"]]
    assert shown[:5] == [(0, 10, 30), (50, 15, 25), (100, 5, 35), (200, 0, 40), (300, 0, 9)]
    assert 20 < cpu["slots"][4]["committed"] < 40
    assert cpu["slots"][5]["end_s"] is None
    assert [s["firm"] for s in memory["slots"]] == [0, 32, 0]
    assert len(told["lots"]) == 4
    [wants] = [lot["demand"] for lot in told["lots"] if lot["demand"]]
    assert wants == [{"mean": 1.0, "deviation": 0.2, "from_s": 0}]
    later = api.get("/v1/hosts/h1/calendar", since_s=at + 150, until_s=at + 160)
    assert [(s["start_s"] - at, s["firm"]) for s in later["resources"][0]["slots"]] == [(150, 5)]
    wrong = api.client.get("/v1/hosts/h1/calendar?since_s=9&until_s=9", headers=bearer(api.admin))
    assert api.refused(wrong) == (422, "invalid_request")


def test_split_and_merge(api: Api) -> None:
    whole = claim(api, "k", ask(40)).json()
    api.clock.now_s += 10
    body = {"key": "p", "owner": "shop", "vm": "id-db1", "asks": [ask(15)]}
    path = f"/v1/claims/{whole['id']}"
    split = api.client.post(f"{path}/split", json=body, headers=bearer(api.admin))
    assert split.status_code == 201
    part = split.json()
    assert [lot["n_shards"] for lot in part["lots"]] == [15]
    assert [lot["n_shards"] for lot in api.get(path)["lots"]] == [25]
    again = api.client.post(f"{path}/split", json=body, headers=bearer(api.admin))
    assert again.json() == part
    wrong = api.client.post(
        f"{path}/split", json={**body, "key": "q", "asks": [ask(2.5)]}, headers=bearer(api.admin)
    )
    assert api.refused(wrong) == (422, "claim_invalid")
    merge = {"other": part["id"]}
    merged = api.client.post(f"{path}/merge", json=merge, headers=bearer(api.admin))
    assert sorted(lot["n_shards"] for lot in merged.json()["lots"]) == [15, 25]
    assert api.get(f"/v1/claims/{part['id']}")["state"] == "ended"
    shop = api.token("tenant", "shop")
    for verb in ("split", "merge"):
        answer = api.client.post(f"{path}/{verb}", json=merge, headers=bearer(shop))
        assert api.refused(answer) == (403, "forbidden")


def test_a_name_leads_to_its_lot(api: Api) -> None:
    told = claim(api, "k", ask(5), ask(5, "h2")).json()
    lot = told["lots"][0]
    assert api.get("/v1/shards", name=lot["name"]) == lot
    api.clock.now_s += 10
    patch(api, told["id"], asks=[ask(5, "h2")])
    assert api.get("/v1/shards", name=lot["name"])["state"] == "ended"
    bank = api.token("tenant", "bank")
    answer = api.client.get("/v1/shards", params={"name": lot["name"]}, headers=bearer(bank))
    assert api.refused(answer) == (404, "not_found")
    other = lot["name"].replace("/h1/", "/h2/")
    answer = api.client.get("/v1/shards", params={"name": other}, headers=bearer(api.admin))
    assert api.refused(answer) == (404, "not_found")
    answer = api.client.get("/v1/shards", params={"name": "shard://x"}, headers=bearer(api.admin))
    assert api.refused(answer) == (422, "shard_invalid")
