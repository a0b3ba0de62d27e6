"""Where would a VM fit? Over the API, from what agents reported."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from tests.batches import START_S, a_batch, a_vm
from tests.controller_app import Api, bearer

from evenkeel.domain.vm import VmState


def report(api: Api, host: str, cores: dict[str, float], seq: int = 1, **fields) -> None:
    """One tick of a host with two CPUs whose VMs want so many cores each."""
    batch = a_batch(seq, host, [a_vm(name) for name in cores], at_s=START_S + 5 * seq, **fields)
    assert batch.tick is not None
    demand = [
        [wanted, *row[1:]] for wanted, row in zip(cores.values(), batch.tick.demand, strict=True)
    ]
    api.deliver(
        msgspec.structs.replace(batch, tick=msgspec.structs.replace(batch.tick, demand=demand))
    )


def ask(api: Api, **params) -> dict:
    return api.get("/v1/what-if", **params)


def test_the_quieter_host_comes_first_and_the_others_losses_are_told(api: Api) -> None:
    report(api, "busy", {"web1": 1.0, "batch7": 1.0})
    report(api, "calm", {"db1": 0.1})
    told = ask(api, vcpus=1, memory_mib=256, cpu=1.0)
    assert [(fit["host"], fit["n_vms"]) for fit in told["hosts"]] == [("calm", 1), ("busy", 2)]
    calm, busy = told["hosts"]
    assert calm["score"]["cpu"] < 5
    # Three that want a core each share two, less what the host takes: a good third is lost.
    assert busy["score"]["cpu"] == pytest.approx(35, abs=1)
    assert busy["residents_score"]["cpu"] == pytest.approx(35, abs=3)
    assert busy["worst"] == max([*busy["score"].values(), *busy["residents_score"].values()])
    assert "net" not in busy["score"], "nobody knows what the host has of it"


def test_a_vm_that_wants_nothing_hurts_nobody(api: Api) -> None:
    report(api, "busy", {"web1": 1.0, "batch7": 1.0})
    [fit] = ask(api, vcpus=4, memory_mib=256, cpu=0, memory=0)["hosts"]
    assert fit["worst"] == 0


def test_like_another_vm_has_its_size(api: Api) -> None:
    report(api, "calm", {"db1": 0.1})
    same = ask(api, like="db1", cpu=0.5)
    assert same == ask(api, like="id-db1", cpu=0.5)
    answer = api.client.get("/v1/what-if?like=nobody", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "not_found")


def test_a_host_that_fell_silent_and_vms_that_are_off_do_not_count(api: Api) -> None:
    report(api, "calm", {"db1": 0.1})
    off = replace(a_vm("old"), state=VmState.SHUTOFF)
    batch = a_batch(1, "other", [a_vm("db2"), off])
    api.deliver(batch)
    told = {fit["host"]: fit["n_vms"] for fit in ask(api, vcpus=1, memory_mib=256)["hosts"]}
    assert told == {"calm": 1, "other": 1}
    api.clock.now_s += 3600
    report(api, "calm", {"db1": 0.1}, seq=2)
    assert [fit["host"] for fit in ask(api, vcpus=1, memory_mib=256)["hosts"]] == ["calm"]


def test_an_empty_fleet_has_no_answer_but_no_error(api: Api) -> None:
    assert ask(api, vcpus=1, memory_mib=256) == {"ahead_s": 3600.0, "hosts": [], "n_hosts": 0}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("vcpus=1", 422),
        ("vcpus=0&memory_mib=1", 422),
        ("vcpus=1&memory_mib=nan", 422),
        ("vcpus=1&memory_mib=1&cpu=-1", 422),
        ("vcpus=1000&memory_mib=1", 422),
    ],
)
def test_what_cannot_be_is_refused(api: Api, query: str, status: int) -> None:
    report(api, "calm", {"db1": 0.1})
    answer = api.client.get(f"/v1/what-if?{query}", headers=bearer(api.admin))
    assert api.refused(answer)[0] == status


def test_only_operators_may_ask(api: Api) -> None:
    for role in ("tenant", "agent"):
        token = api.token(role, "shop")
        answer = api.client.get("/v1/what-if?vcpus=1&memory_mib=1", headers=bearer(token))
        assert api.refused(answer) == (403, "forbidden")
