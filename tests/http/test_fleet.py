"""What readers see: the whole fleet, or a tenant's part of it."""

from __future__ import annotations

import base64
import json

import pytest
from tests.batches import START_S, a_batch, a_mitigation, a_score, a_vm, an_event
from tests.controller_app import Api, bearer

from evenkeel.domain.evidence import NOBODY_KNOWN, Suspicion, VictimEvidence, Witnesses
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import ActionKind, Advice, MitigationState, Rejection
from evenkeel.domain.probe import Finding, Verdict
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import Deviation

ADVICE = Advice(
    victim=VmId("id-web1"),
    aggressor=VmId("id-batch7"),
    resource=Resource.CPU,
    score=36.0,
    best=a_mitigation("plan", MitigationState.ADVISED),
    rejected=(Rejection(ActionKind.QUOTA, VmId("id-batch7"), 0.2, "batch7 is paid for"),),
    answer="pin batch7 away from web1",
)
SECRETS = ("batch7", "id-batch7", "db1", "bank")


@pytest.fixture
def fleet(api: Api) -> Api:
    """h1: shop's web1 and web2 beside bank's batch7, which hurts both; h2: bank's db1."""
    vms = (a_vm("web1", "shop"), a_vm("web2", "shop"), a_vm("batch7", "bank"))
    scores = (
        a_score("web1", "batch7", 36.0),
        a_score("web2", "batch7", 12.0),
        a_score("batch7", "web1", 12.0),
        a_score("web2", "web1", 3.0),
        a_score("web1", "web2", 0.2),
    )
    api.deliver(
        a_batch(
            1,
            vms=vms,
            at_s=START_S - 1,
            loss=0.38,
            scores=scores,
            deviations=(Deviation(VmId("id-web1"), Resource.CPU, 0.3, 0.38, 60.0),),
            advice=(ADVICE,),
            mitigations=(a_mitigation(),),
            events=(an_event(vm="web1"), an_event("fence_raised", vm="batch7")),
        )
    )
    api.deliver(a_batch(1, "h2", (a_vm("db1", "bank"),), at_s=START_S - 1))
    return api


def test_the_status_counts_and_names_the_worst(fleet: Api) -> None:
    status = fleet.get("/v1/status")
    assert (status["n_hosts"], status["n_hosts_alive"], status["n_vms"]) == (2, 2, 4)
    assert (status["n_pairs_above_threshold"], status["n_open_mitigations"]) == (1, 1)
    assert [p["aggressor_name"] for p in status["alarms"]] == ["batch7"]
    assert status["problems"] == []
    fleet.clock.now_s += 60
    status = fleet.get("/v1/status")
    assert (status["n_hosts_alive"], status["alarms"]) == (0, [])
    assert status["problems"] == ["h1: silent for 60 s", "h2: silent for 60 s"]


def test_hosts_show_load_and_life(fleet: Api) -> None:
    h1, h2 = fleet.get("/v1/hosts")["items"]
    assert (h1["id"], h1["alive"], h1["n_vms"], h1["worst_score"]) == ("h1", True, 3, 36.0)
    assert (h1["cpu_demand_cores"], h1["n_open_mitigations"]) == (3.0, 1)
    assert (h1["psi_cpu_some"], h1["psi_memory_some"]) == (0.1, None)
    assert (h2["id"], h2["worst_score"]) == ("h2", 0.0)
    assert fleet.get("/v1/hosts/h1") == h1
    missing = fleet.client.get("/v1/hosts/h9", headers=bearer(fleet.admin))
    assert fleet.refused(missing) == (404, "not_found")


def test_a_vm_is_found_by_id_and_by_a_unique_name(fleet: Api) -> None:
    by_id, by_name = fleet.get("/v1/vms/id-web1"), fleet.get("/v1/vms/web1")
    assert by_id == by_name
    assert (by_id["host"], by_id["worst_score"], by_id["worst_aggressor"]) == (
        "h1",
        36.0,
        "id-batch7",
    )
    assert by_id["worst_aggressor_name"] == "batch7"
    cpu = by_id["readings"][0]
    assert (cpu["resource"], cpu["unit"], cpu["loss"]) == ("cpu", "cores", 0.38)
    twin = a_vm("web1", "shop")
    fleet.deliver(a_batch(2, "h2", (a_vm("db1", "bank"), type(twin)(VmId("x"), "web1", 1, 1.0))))
    answer = fleet.client.get("/v1/vms/web1", headers=bearer(fleet.admin))
    assert fleet.refused(answer) == (404, "not_found")
    assert "several" in answer.text


def test_why_names_the_culprit_and_what_would_help(fleet: Api) -> None:
    why = fleet.get("/v1/vms/web1/why")
    assert why["summary"] == (
        "web1 loses 38 % of the CPU it wants, mostly to batch7 (score 36, confidence 0.9)."
    )
    assert [p["aggressor_name"] for p in why["hurt_by"]] == ["batch7", "web2"]
    assert [p["victim_name"] for p in why["hurts"]] == ["batch7", "web2"]
    assert [(d["predicted_loss"], d["measured_loss"]) for d in why["deviations"]] == [(0.3, 0.38)]
    (advice,) = why["advice"]
    assert (advice["answer"], advice["change"]) == (
        "pin batch7 away from web1",
        "vCPU 0 pinned to CPU 1",
    )
    assert advice["rejected"][0]["target_name"] == "batch7"
    (mitigation,) = why["mitigations"]
    assert (mitigation["change"], mitigation["victim_name"]) == ("vCPU 0 pinned to CPU 1", "web1")
    fleet.clock.now_s += 45
    assert fleet.get("/v1/vms/web1/why")["summary"] == (
        "Nothing is known of web1 now: h1 has been silent for 45 s."
    )


def test_why_shows_the_evidence_and_what_a_probe_found(fleet: Api) -> None:
    assert fleet.get("/v1/vms/web1/why")["evidence"] is None
    web1, batch7 = VmId("id-web1"), VmId("id-batch7")
    found = VictimEvidence(
        victim=web1,
        resource=Resource.CPU,
        measured_loss=0.38,
        predicted_loss=0.3,
        witnesses=Witnesses(cpu=0.38, inside=0.5, unexplained=0.19),
        suspects=(
            Suspicion(batch7, 0.3, 0.9, 0.05),
            Suspicion(web1, 0.05, 0.06, 0.28),
            Suspicion(NOBODY_KNOWN, 0.03, 0.01),
        ),
        findings=(Finding(web1, batch7, Verdict.CONFIRMED, 1.0, 0.1, 0.4, 0.3, 12, 6, 3.0),),
    )
    fleet.deliver(a_batch(3, evidence=(found,)))
    shown = fleet.get("/v1/vms/web1/why")["evidence"]
    assert shown["witnesses"]["unexplained"] == 0.19
    assert [(s["name"], s["attributed_loss"]) for s in shown["suspects"]] == [
        ("batch7", 0.3),
        ("web1 itself", 0.05),
        ("nobody known", 0.03),
    ]
    assert (shown["findings"][0]["suspect_name"], shown["findings"][0]["verdict"]) == (
        "batch7",
        "confirmed",
    )
    assert fleet.get("/v1/vms/batch7/why")["evidence"] is None


def test_the_map_indexes_its_vms(fleet: Api) -> None:
    got = fleet.get("/v1/hosts/h1/map")
    cells = {(got["names"][c["victim"]], got["names"][c["aggressor"]]) for c in got["cells"]}
    assert cells == {
        ("web1", "batch7"),
        ("web2", "batch7"),
        ("batch7", "web1"),
        ("web2", "web1"),
    }
    assert got["alive"]


def test_a_series_is_thinned_to_means(fleet: Api) -> None:
    for seq in range(2, 12):
        vms = (a_vm("web1", "shop"),)
        fleet.deliver(a_batch(seq, vms=vms, at_s=START_S + seq, loss=seq / 100))
    whole = fleet.get("/v1/vms/web1/series", since_s=START_S, until_s=START_S + 99)
    assert whole["loss"] == [round(seq / 100, 5) for seq in range(2, 12)]
    assert whole["at_s"] == [START_S + seq for seq in range(2, 12)]
    few = fleet.get("/v1/vms/web1/series", since_s=START_S, until_s=START_S + 99, max_points=5)
    assert few["loss"] == pytest.approx([0.025, 0.045, 0.065, 0.085, 0.105])
    assert few["self_limited"] == [0.0] * 5
    net = fleet.get("/v1/vms/web1/series", since_s=0, until_s=START_S + 99, resource="net")
    assert set(net["loss"]) == {None}
    # A VM that left keeps its history, and nothing else.
    fleet.deliver(a_batch(12, vms=(), at_s=START_S + 12))
    departed = fleet.get("/v1/vms/id-web1/series", since_s=START_S, until_s=START_S + 99)
    assert departed["loss"] == whole["loss"]
    gone = fleet.client.get("/v1/vms/id-web1", headers=bearer(fleet.admin))
    assert fleet.refused(gone) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/hosts", "/v1/vms", "/v1/pairs", "/v1/events", "/v1/tokens"])
def test_pages_add_up_to_the_whole(fleet: Api, path: str) -> None:
    for k in range(5):
        fleet.token("tenant", f"t{k}")
    whole = fleet.get(path)["items"]
    assert len(whole) > 1
    paged, cursor = [], None
    while True:
        page = fleet.get(path, limit=1, **({"cursor": cursor} if cursor else {}))
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(paged) <= len(whole)
    assert paged == whole


def test_mitigations_page_newest_first(fleet: Api) -> None:
    more = tuple(a_mitigation(f"n{k}", created_at_s=START_S + k // 2) for k in range(5))
    fleet.deliver(a_batch(2, mitigations=more))
    whole = fleet.get("/v1/mitigations")["items"]
    assert len(whole) == 6
    first = fleet.get("/v1/mitigations", limit=3)
    rest = fleet.get("/v1/mitigations", limit=3, cursor=first["next"])
    assert first["items"] + rest["items"] == whole
    assert fleet.get("/v1/mitigations", vm="id-web2")["items"] == []
    assert len(fleet.get("/v1/mitigations", host="h1", open_only=True)["items"]) == 6


@pytest.mark.parametrize(
    "query",
    [
        "/v1/vms?cursor=nonsense",
        "/v1/vms?cursor=W10",
        "/v1/events?cursor=WyJhIl0",
        "/v1/events?cursor=WzFlMzA4XQ",
        "/v1/vms?cursor=WyJcdWQ4MDAiLCIiXQ",
        "/v1/vms?limit=0",
        "/v1/vms?limit=1001",
        "/v1/pairs?min_score=x",
        "/v1/vms/a%00b",
        "/v1/vms?host=a%00b",
        "/v1/vms/web1/series?resource=gold",
        "/v1/vms/web1/series?max_points=0",
    ],
)
def test_invalid_requests_have_the_error_form(fleet: Api, query: str) -> None:
    answer = fleet.client.get(query, headers=bearer(fleet.admin))
    assert fleet.refused(answer) == (422, "invalid_request")


def test_unknown_paths_and_methods_have_the_error_form(api: Api) -> None:
    assert api.refused(api.client.get("/v1/nothing")) == (404, "not_found")
    answer = api.client.post("/v1/status")
    assert api.refused(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_a_tenant_never_learns_who_its_neighbours_are(fleet: Api) -> None:
    shop = fleet.token("tenant", "shop")
    seen = {}
    for path in (
        "/v1/status",
        "/v1/vms",
        "/v1/vms/web1",
        "/v1/vms/web1/why",
        "/v1/vms/web1/series",
        "/v1/hosts/h1/map",
        "/v1/pairs",
        "/v1/mitigations",
        "/v1/events",
        "/v1/mode",
    ):
        seen[path] = fleet.get(path, shop)
        text = json.dumps(seen[path])
        assert not [secret for secret in SECRETS if secret in text], path
    assert [vm["name"] for vm in seen["/v1/vms"]["items"]] == ["web1", "web2"]
    pairs = seen["/v1/pairs"]["items"]
    strangers = {p["aggressor"] for p in pairs if p["aggressor_name"] == "another tenant's VM"}
    assert len(strangers) == 1
    assert seen["/v1/vms/web1/why"]["hurt_by"][0]["aggressor"] in strangers
    assert seen["/v1/hosts/h1/map"]["names"] == ["web1", "web2", "another tenant's VM"]
    assert seen["/v1/status"]["n_hosts"] == 1
    (mitigation,) = seen["/v1/mitigations"]["items"]
    assert mitigation["change"] == "the neighbour was changed"
    assert seen["/v1/vms/web1/why"]["summary"].startswith("web1 loses 38 % of the CPU it wants")
    # A stranger stays the same one, and is another one for another tenant.
    assert fleet.get("/v1/pairs", shop)["items"] == pairs
    bank = fleet.get("/v1/pairs", fleet.token("tenant", "bank"))["items"]
    assert strangers.isdisjoint({p["victim"] for p in bank} | {p["aggressor"] for p in bank})


def test_a_tenants_cursors_carry_no_neighbours_name(fleet: Api) -> None:

    shop = fleet.token("tenant", "shop")
    for path in ("/v1/pairs", "/v1/mitigations", "/v1/events", "/v1/vms"):
        cursor = fleet.get(path, shop, limit=1)["next"]
        if cursor:
            text = base64.urlsafe_b64decode(cursor + "==").decode()
            assert not [secret for secret in SECRETS if secret in text], path


def test_somebody_elses_vm_does_not_exist(fleet: Api) -> None:
    shop = bearer(fleet.token("tenant", "shop"))
    for path in (
        "/v1/vms/batch7",
        "/v1/vms/id-batch7",
        "/v1/vms/id-batch7/why",
        "/v1/vms/id-batch7/series",
        "/v1/hosts/h2/map",
        "/v1/events?vm=id-batch7",
        "/v1/mitigations?vm=id-batch7",
    ):
        hidden = fleet.client.get(path, headers=shop)
        nowhere = path.replace("batch7", "nobody").replace("h2", "h9")
        absent = fleet.client.get(nowhere, headers=shop)
        assert fleet.refused(hidden) == fleet.refused(absent) == (404, "not_found")
    assert fleet.get("/v1/vms", fleet.token("tenant", "x"))["items"] == []


def test_modes_are_set_unset_logged_and_shown(fleet: Api) -> None:
    def put(**body: object) -> object:
        answer = fleet.client.put("/v1/mode", json=body, headers=bearer(fleet.admin))
        return answer.json() if answer.status_code == 200 else fleet.refused(answer)

    assert put(mode="act", tenant="shop") == {
        "mode": "advise",
        "hosts": {},
        "tenants": {"shop": "act"},
    }
    put(mode="observe", tenant="bank")
    put(mode="act", host="h1")
    put(mode=None, host="h1")
    put(mode="observe")
    assert fleet.get("/v1/mode") == {
        "mode": "observe",
        "hosts": {},
        "tenants": {"shop": "act", "bank": "observe"},
    }
    shop = fleet.get("/v1/mode", fleet.token("tenant", "shop"))
    assert shop == {"mode": "observe", "hosts": {}, "tenants": {"shop": "act"}}
    told = [e for e in fleet.get("/v1/events")["items"] if e["kind"] == "mode_set"]
    assert len(told) == 5
    assert told[0]["detail"]["who"].startswith("ann (")
    for bad in (
        {"mode": None},
        {"mode": "act", "host": "h1", "tenant": "shop"},
        {"mode": "act", "host": ""},
        {"mode": "act", "host": "a\x00"},
        {"mode": "loud"},
        {"mode": "act", "extra": 1},
    ):
        assert put(**bad) == (422, "invalid_request")


def test_health_and_metrics(fleet: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fleet.client.get("/healthz").json()["status"] == "ok"
    lines = fleet.client.get("/metrics", headers=bearer(fleet.admin)).text.splitlines()
    assert 'evenkeel_controller_batches_total{result="accepted"} 2' in lines
    assert "evenkeel_controller_vms 4" in lines
    assert "evenkeel_controller_store_up 1" in lines
    fleet.services.store._engine.dispose()  # type: ignore[attr-defined]
    database = fleet.services.store._engine.url.database  # type: ignore[attr-defined]
    with open(database, "r+b") as file:
        file.write(b"x" * 4096)
    assert fleet.refused(fleet.client.get("/healthz")) == (503, "store_unavailable")
