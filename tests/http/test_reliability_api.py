"""What the API says of predicted against measured loss, and to whom."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from tests.batches import START_S, a_batch, a_score, a_vm
from tests.controller_app import Api, bearer

from evenkeel.controller.reliability import prune_reliability
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.reliability import Tally
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PairDeviation
from evenkeel.wire import encode

HOUR_S = 3600.0
CPU = Tally(
    Resource.CPU, 5.0, (0, 3), (100, 40), (10_000, 600_000), (20_000, 620_000), (0, 400_000)
)
DISK = replace(CPU, resource=Resource.IOPS)
AHEAD = replace(CPU, horizon_s=60.0)
ODD = PairDeviation(VmId("id-web1"), VmId("id-batch7"), Resource.CPU, 0.05, 0.3, START_S, 8, 5.0)


@pytest.fixture
def fleet(api: Api) -> Api:
    api.deliver(a_batch(1, at_s=START_S - 10, reliability=(CPU, DISK, AHEAD)))
    api.deliver(a_batch(2, at_s=START_S - 5, reliability=(CPU,)))
    api.deliver(a_batch(1, "h2", at_s=START_S - 5, reliability=(CPU,)))
    return api


def test_the_fleet_and_a_host_by_horizon(fleet: Api) -> None:
    now, ahead = fleet.get("/v1/reliability")["curves"]
    assert (now["horizon_s"], now["n"], ahead["horizon_s"], ahead["n"]) == (5, 560, 60, 140)
    assert now["worst_gap_points"] == pytest.approx(0.5)
    assert now["is_close"] is True
    low, high = now["bins"]
    assert (low["lower"], low["upper"], high["lower"], high["upper"]) == (0, 0.01, 0.1, 0.2)
    assert (high["n"], high["predicted"], high["measured"]) == (160, 0.15, 0.155)
    assert high["populated"]
    assert fleet.get("/v1/reliability", host="h1")["curves"][0]["n"] == 420


def test_by_resource_and_horizon(fleet: Api) -> None:
    (curve,) = fleet.get("/v1/reliability", resource="iops")["curves"]
    assert curve["n"] == 140
    (curve,) = fleet.get("/v1/reliability", resource="cpu", horizon_s=5)["curves"]
    assert curve["n"] == 420
    assert fleet.get("/v1/reliability", resource="net")["curves"] == []


def test_old_hours_are_left_out_and_at_last_forgotten(fleet: Api) -> None:
    fleet.clock.now_s += 3 * HOUR_S
    fleet.deliver(a_batch(3, at_s=fleet.clock.now_s - 1, reliability=(DISK,)))
    (curve,) = fleet.get("/v1/reliability", hours=1)["curves"]
    assert curve["n"] == 140
    assert fleet.get("/v1/reliability", hours=5)["curves"][0]["n"] == 700
    store = fleet.services.store
    assert prune_reliability(store, fleet.clock, 1 / 24) > 0
    assert prune_reliability(store, fleet.clock, 1 / 24) == 0
    assert fleet.get("/v1/reliability", hours=99)["curves"][0]["n"] == 140


def test_what_a_spool_held_back_counts_where_it_belongs(fleet: Api) -> None:
    fleet.deliver(a_batch(3, at_s=START_S - 9 * HOUR_S, reliability=(CPU,)))
    assert fleet.get("/v1/reliability", hours=1)["curves"][0]["n"] == 560
    assert fleet.get("/v1/reliability", hours=12)["curves"][0]["n"] == 700
    fleet.deliver(a_batch(4, at_s=START_S + 9 * HOUR_S, reliability=(CPU,)))  # a fast clock
    assert fleet.get("/v1/reliability", hours=1)["curves"][0]["n"] == 700


def test_a_replay_counts_once_and_other_bins_not_at_all(fleet: Api) -> None:
    fleet.deliver(a_batch(2, at_s=START_S - 5, reliability=(CPU,)))
    other = replace(CPU, grid=2, bins=(77, 78))
    fleet.deliver(a_batch(3, at_s=START_S - 4, reliability=(other,)))
    assert fleet.get("/v1/reliability")["curves"][0]["n"] == 560


def test_only_the_operator_may_ask(fleet: Api) -> None:
    for role, subject in (("tenant", "shop"), ("agent", "h1")):
        token = fleet.token(role, subject)
        answer = fleet.client.get("/v1/reliability", headers=bearer(token))
        assert fleet.refused(answer) == (403, "forbidden")
    assert fleet.refused(fleet.client.get("/v1/reliability"))[0] == 401
    missing = fleet.client.get(
        "/v1/reliability", headers=bearer(fleet.admin), params={"host": "no"}
    )
    assert fleet.refused(missing) == (404, "not_found")


@pytest.mark.parametrize(
    "changes", [{"n": (100,)}, {"measured": (-1, 5)}, {"bins": (3, 0)}, {"horizon_s": -5.0}]
)
def test_counts_that_cannot_be_are_refused(api: Api, changes: dict[str, object]) -> None:
    batch = a_batch(1, reliability=(replace(CPU, **changes),))  # type: ignore[arg-type]
    answer = api.post(encode(batch))
    assert api.refused(answer) == (422, "batch_invalid")
    assert "reliability of cpu" in answer.json()["error"]["message"]


def test_an_agent_of_before_says_nothing_of_it(api: Api) -> None:
    body = msgspec.json.decode(encode(a_batch(1)))
    del body["reliability"], body["pair_deviations"]
    assert api.post(msgspec.json.encode(body)).status_code == 200
    assert api.get("/v1/reliability")["curves"] == []
    assert api.get("/v1/vms/web1/why")["pair_deviations"] == []


def test_pairs_that_deviate_stand_until_the_host_says_otherwise(api: Api) -> None:
    vms = (a_vm("web1", "shop"), a_vm("batch7", "bank"))
    hosts = replace(ODD, aggressor=HOST_ITSELF)
    nobodys = replace(ODD, aggressor=NOBODY, resource=Resource.IOPS)
    api.deliver(a_batch(1, vms=vms, at_s=START_S, pair_deviations=(ODD, hosts, nobodys)))
    told = api.get("/v1/vms/web1/why")["pair_deviations"]
    assert [one["aggressor_name"] for one in told] == [
        "batch7",
        "the host itself",
        "nobody that can be named",
    ]
    assert (told[0]["predicted_loss"], told[0]["measured_loss"]) == (0.05, 0.3)
    assert told == api.get("/v1/hosts/h1/map")["deviations"]
    assert len(api.get("/v1/vms/batch7/why")["pair_deviations"]) == 1

    shop, other = api.token("tenant", "shop"), api.token("tenant", "bank")
    mine = api.get("/v1/vms/web1/why", shop)["pair_deviations"]
    assert mine[0]["aggressor_name"] == "another tenant's VM"
    assert "batch7" not in str(mine)
    theirs = api.get("/v1/hosts/h1/map", other)["deviations"]
    assert [one["victim_name"] for one in theirs] == ["another tenant's VM"]

    api.deliver(a_batch(2, vms=vms, at_s=START_S + 5))
    assert api.get("/v1/vms/web1/why")["pair_deviations"] == []


def test_pairs_of_another_horizon_stay_apart(api: Api) -> None:
    present = a_score("web1", "batch7", 36.0)
    ahead = replace(present, score=71.0, horizon_s=60.0)
    api.deliver(a_batch(1, scores=(present, ahead)))
    assert [p["score"] for p in api.get("/v1/pairs")["items"]] == [36.0]
    assert [p["score"] for p in api.get("/v1/pairs", horizon_s=60)["items"]] == [71.0]
    assert [c["score"] for c in api.get("/v1/hosts/h1/map")["cells"]] == [36.0]
    later = api.get("/v1/hosts/h1/map", horizon_s=60)
    assert (later["horizon_s"], [c["score"] for c in later["cells"]]) == (60, [71.0])
    assert api.get("/v1/hosts/h1")["worst_score"] == 36.0
    assert api.get("/v1/vms/web1")["worst_score"] == 36.0
    assert api.get("/v1/status")["n_pairs_above_threshold"] == 1
    assert [p["score"] for p in api.get("/v1/vms/web1/why")["hurt_by"]] == [36.0]
