"""Forecasts and models over the API: who sees what, and what is said when there is nothing."""

from __future__ import annotations

import hashlib
import math

import pytest
from tests.batches import START_S, a_batch, a_vm
from tests.controller_app import Api, bearer
from tests.history_data import T0, a_model
from tests.short_data import promoted

from evenkeel.api.render_forecast import SHARDS
from evenkeel.domain.deviation import DemandDeviation, Way
from evenkeel.domain.errors import ModelsUnavailable
from evenkeel.domain.rdv import from_json
from evenkeel.domain.resources import Resource
from evenkeel.forecast.empirical import Empirical


def report(api: Api, n_ticks: int = 70) -> None:
    """web1 (shop) and batch7 (bank) on h1 for some minutes; then the slot is rolled up."""
    vms = [a_vm("web1", "shop"), a_vm("batch7", "bank")]
    for k in range(1, n_ticks, 6):
        api.deliver(a_batch(k, vms=vms, at_s=START_S + 5 * k))
    api.clock.now_s = START_S + 640
    assert api.services.forecasts
    api.services.forecasts.run()


def add_model(api: Api, at_s: float = T0, resource: Resource = Resource.CPU) -> str:
    blob = Empirical().load(b'{"window_s": %d, "pools": {}}' % (3600 + at_s - T0)).save()
    info = a_model(blob, resource, at_s)
    assert api.services.forecasts
    api.services.forecasts.registry.add(info, blob)
    return info.id


def test_a_forecast_is_a_demand_vector_with_odds(api: Api) -> None:
    report(api)
    told = api.get("/v1/vms/web1/forecast")
    assert (told["vm"], told["name"], told["v"]) == ("id-web1", "web1", 1)
    assert told["age_s"] == 40
    cpu = told["resources"][0]
    assert (cpu["resource"], cpu["unit"], cpu["model"]) == ("cpu", "cores", "empirical")
    assert (cpu["now"], cpu["held_shards"], cpu["capacity"]) == (1.0, 20, 1.0)
    assert cpu["demand"][0] == {"ahead_s": 300.0, "median": 1.0, "quantiles": [1.0] * 9}
    assert [row["ahead_s"] for row in cpu["peak"]] == [3600, 21600, 86400]
    assert [n["shards"] for n in cpu["need"][: len(SHARDS)]] == list(SHARDS)
    assert cpu["sentence"] == "over 99 % chance that it needs no more CPU shards within the hour"
    plain = {k: v for k, v in told.items() if k in ("v", "vm", "quantiles", "resources")}
    vector = from_json(plain)
    assert math.isclose(vector.need(Resource.CPU, 1, 3600), cpu["need"][0]["probability"])
    only = api.get("/v1/vms/id-web1/forecast", resource="memory")["resources"]
    assert [each["resource"] for each in only] == ["memory"]


def test_a_profile_says_how_a_vm_behaves_and_what_it_rests_on(api: Api) -> None:
    report(api)
    told = api.get("/v1/vms/web1/profile")
    assert (told["vm"], told["name"]) == ("id-web1", "web1")
    cpu = told["resources"][0]
    assert cpu["resource"] == "cpu"
    assert (cpu["label"], cpu["confidence"]) == ("unknown", 0), "five minutes tell nothing"
    assert 0 < cpu["history_days"] < 0.01
    assert "too little history" in cpu["sentence"]
    shop = api.token("tenant", "shop")
    assert api.get("/v1/vms/web1/profile", shop)["name"] == "web1"
    foreign = api.client.get("/v1/vms/id-batch7/profile", headers=bearer(shop))
    assert api.refused(foreign) == (404, "not_found")


def test_a_tenant_sees_the_forecasts_of_its_own_vms(api: Api) -> None:
    report(api)
    shop = api.token("tenant", "shop")
    assert api.get("/v1/vms/web1/forecast", shop)["name"] == "web1"
    foreign = api.client.get("/v1/vms/id-batch7/forecast", headers=bearer(shop))
    assert api.refused(foreign) == (404, "not_found")
    for path in ("/v1/models",):
        assert api.refused(api.client.get(path, headers=bearer(shop)))[0] == 403


def test_before_the_first_slot_there_is_no_forecast(api: Api) -> None:
    api.deliver(a_batch(1))
    answer = api.client.get("/v1/vms/web1/forecast", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "forecast_unavailable")
    answer = api.client.get("/v1/vms/web1/profile", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "forecast_unavailable")
    answer = api.client.get("/v1/vms/nobody/forecast", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "not_found")


def test_models_are_promoted_and_rolled_back_and_all_is_logged(api: Api) -> None:
    first, second = add_model(api), add_model(api, T0 + 1)
    assert [m["id"] for m in api.get("/v1/models")["items"]] == [second, first]
    assert api.get("/v1/models", resource="net")["items"] == []

    def post(path: str, body: dict[str, str] | None = None) -> dict[str, object]:
        answer = api.client.post(path, headers=bearer(api.admin), json=body or {})
        assert answer.status_code == 200, answer.text
        return answer.json()

    for each in (first, second):
        assert post(f"/v1/models/{each}/promote")["model"]["state"] == "champion"
    report(api)
    assert api.get("/v1/vms/web1/forecast")["resources"][0]["model"] == second
    assert post("/v1/models/rollback", {"resource": "cpu"})["model"]["id"] == first
    assert post("/v1/models/rollback", {"resource": "cpu"}) == {
        "resource": "cpu",
        "horizon": "long",
        "model": None,
    }
    again = api.client.post(
        "/v1/models/rollback", headers=bearer(api.admin), json={"resource": "cpu"}
    )
    assert api.refused(again) == (404, "model_not_found")
    unknown = api.client.post("/v1/models/nobody/promote", headers=bearer(api.admin))
    assert api.refused(unknown) == (404, "model_not_found")
    kinds = [e["kind"] for e in api.get("/v1/events")["items"]]
    assert kinds.count("model_promoted") == 2
    assert kinds.count("model_rolled_back") == 2


def test_an_agent_gets_the_model_that_serves_and_no_other(api: Api) -> None:
    model, agent = add_model(api), api.token("agent", "h1")
    path = f"/v1/models/{model}"
    answer = api.client.get(path, headers=bearer(agent))
    assert api.refused(answer) == (403, "forbidden")
    assert api.client.get(path, headers=bearer(api.admin)).status_code == 200
    assert api.services.models
    api.services.models.promote(model, "test")
    answer = api.client.get(path, headers=bearer(agent))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["evenkeel-forecaster"] == "empirical"
    known = {"if-none-match": answer.headers["etag"]}
    assert api.client.get(path, headers=bearer(agent) | known).status_code == 304
    for name in ("..%2f..%2fcontroller.key", "serving", "nobody"):
        answer = api.client.get(f"/v1/models/{name}", headers=bearer(agent))
        assert answer.status_code == 404
    tenant = api.client.get(path, headers=bearer(api.token("tenant", "shop")))
    assert api.refused(tenant) == (403, "forbidden")


def test_a_deviation_is_shown_with_the_forecast(api: Api) -> None:
    report(api)
    assert api.get("/v1/vms/web1/forecast")["resources"][0]["deviation"] is None
    assert api.services.forecasts
    assert api.services.forecasts.watch
    one = DemandDeviation(Resource.CPU, Way.BELOW, START_S, 2.0, 0.5, -1.25, 1e-5)
    standing = api.services.forecasts.watch.deviations._followed[Resource.CPU].standing
    standing["id-web1"] = one
    told = api.get("/v1/vms/web1/forecast")["resources"]
    assert told[0]["deviation"]["way"] == "below"
    assert told[0]["deviation"]["probability"] == 1e-5
    assert "1.25 cores less than forecast" in told[0]["deviation"]["sentence"]
    assert told[1]["deviation"] is None
    text = api.client.get("/metrics", headers=bearer(api.admin)).text.splitlines()
    assert 'evenkeel_forecast_deviating_vms{resource="cpu"} 1' in text
    assert 'evenkeel_forecast_trainings_total{result="started"} 0' in text


def test_figures_and_trouble_are_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    report(api)
    text = api.client.get("/metrics", headers=bearer(api.admin)).text
    for line in (
        'evenkeel_forecast_age_seconds{resource="cpu"} 40.0',
        'evenkeel_forecast_vms{resource="net"} 2',
        'evenkeel_forecast_models{state="champion"} 0',
        'evenkeel_forecast_model_info{resource="cpu",model="empirical"} 1',
        "# TYPE evenkeel_forecast_results_total counter",
    ):
        assert line in text.splitlines(), text
    monkeypatch.setattr(api.services.forecasts, "trouble", lambda: ["forecasts: no disk"])
    assert "forecasts: no disk" in api.get("/v1/status")["problems"]
    assert api.get("/v1/status", api.token("tenant", "shop"))["problems"] == []


def test_replies_to_agents_name_the_short_models_that_serve(api: Api) -> None:
    registry = api.services.forecasts.registry
    assert api.deliver(a_batch(1)).short_models == ()
    first = promoted(registry, 1)
    assert api.deliver(a_batch(2)).short_models == (), "it is looked up now and then only"
    api.clock.now_s += 10
    (told,) = api.deliver(a_batch(3)).short_models
    record = registry.model(first).info
    assert (told.resource, told.id, told.sha256) == ("cpu", first, record.sha256)
    agent = api.token("agent", "h1")
    answer = api.client.get(f"/v1/models/{told.id}", headers=bearer(agent))
    assert hashlib.sha256(answer.content).hexdigest() == told.sha256
    assert answer.headers["evenkeel-forecaster"] == "short"

    second = promoted(registry, 2)
    back = {"resource": "cpu", "horizon": "short"}
    answer = api.client.post("/v1/models/rollback", headers=bearer(api.admin), json=back)
    assert answer.json()["model"]["id"] == first
    assert answer.json()["horizon"] == "short"
    answer = api.client.get(f"/v1/models/{second}", headers=bearer(agent))
    assert api.refused(answer) == (403, "forbidden")
    api.client.post("/v1/models/rollback", headers=bearer(api.admin), json=back)
    assert api.deliver(a_batch(4)).short_models == (), "what the API changes is known at once"


def test_short_models_do_not_forecast_slots(api: Api) -> None:
    assert api.services.forecasts
    short = promoted(api.services.forecasts.registry, 1)
    report(api)
    assert api.get("/v1/vms/web1/forecast")["resources"][0]["model"] == "empirical"
    (told,) = api.get("/v1/models")["items"]
    assert (told["id"], told["horizon"], told["state"]) == (short, "short", "champion")


def test_where_models_cannot_be_read_agents_keep_what_they_have(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ModelsUnavailable("no disk")

    monkeypatch.setattr(api.services.forecasts.registry, "line", gone)
    assert api.deliver(a_batch(1)).short_models is None
