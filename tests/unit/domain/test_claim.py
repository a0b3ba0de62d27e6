"""Requests that no fleet could grant are refused with a reason; keys make ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evenkeel.domain.claim import (
    Ask,
    ClaimInvalid,
    ClaimRequest,
    Obstacle,
    capacity_short,
)
from evenkeel.domain.claim_checks import check_interval, check_request
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, PerformanceClass

NOW_S = 1000.5
YEAR_S = 366 * 86_400
CPU = Ask(HostId("h1"), Resource.CPU, 20)
REQUEST = ClaimRequest("k1", TenantId("shop"), VmId("web"), 2000, 3000, (CPU,))


def check(request: ClaimRequest) -> None:
    check_request(request)
    check_interval(request.start_s, request.end_s, NOW_S, YEAR_S)


def test_a_sound_request_passes() -> None:
    check(REQUEST)
    check(replace(REQUEST, start_s=941))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": ""}, "no key"),
        ({"key": "x" * 201}, "longer"),
        ({"vm": VmId("a\nb")}, "printable"),
        ({"owner": TenantId("")}, "no owner"),
        ({"start_s": 3000}, "not after"),
        ({"start_s": 3001}, "not after"),
        ({"start_s": 900}, "s ago"),
        ({"start_s": -5}, "whole"),
        ({"start_s": 2000.5}, "whole"),
        ({"end_s": 2000 + 10 * YEAR_S}, "days from now"),
        ({"start_s": 950, "end_s": 1000}, "has ended"),
        ({"asks": ()}, "1 to 256"),
        ({"asks": (replace(CPU, by_forecast=True),), "vm": VmId("")}, "names no VM"),
        (
            {"asks": (replace(CPU, by_forecast=True, performance=PerformanceClass.PINNED),)},
            "not shared",
        ),
        ({"asks": (CPU,) * 257}, "1 to 256"),
        ({"asks": (CPU, replace(CPU, n_shards=1))}, "twice"),
        ({"asks": (replace(CPU, n_shards=0),)}, "0 shards"),
        ({"asks": (replace(CPU, n_shards=-3),)}, "-3 shards"),
        ({"asks": (replace(CPU, n_shards=2.5),)}, "2.5 shards"),
        ({"asks": (replace(CPU, n_shards=True),)}, "True shards"),
        ({"asks": (replace(CPU, host=HostId("")),)}, "no host"),
        ({"asks": (replace(CPU, host=HostId("\ud800")),)}, "printable"),
        (
            {
                "asks": (
                    replace(CPU, performance=PerformanceClass.PINNED, demand=(Demand(0, 1, 1, 1),)),
                )
            },
            "demand is told",
        ),
        (
            {"asks": (replace(CPU, demand=(Demand(5, 1, 1, 1), Demand(5, 1, 1, 1))),)},
            "do not grow",
        ),
    ],
)
def test_what_nobody_could_grant_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ClaimInvalid, match=reason):
        check(replace(REQUEST, **fields))


def test_the_id_follows_from_owner_and_key_alone() -> None:
    assert replace(REQUEST, end_s=4000).claim == REQUEST.claim
    assert replace(REQUEST, key="k2").claim != REQUEST.claim
    assert (
        replace(REQUEST, owner=TenantId("ab"), key="c").claim
        != replace(REQUEST, owner=TenantId("a"), key="bc").claim
    )


def test_another_body_has_another_digest() -> None:
    assert replace(REQUEST).digest() == REQUEST.digest()
    assert replace(REQUEST, end_s=4000).digest() != REQUEST.digest()


def test_a_refusal_says_where_and_what_would_fit() -> None:
    obstacle = Obstacle(HostId("h1"), Resource.CPU, 2100, 2200, 20, 12, 9, 2500)
    refused = capacity_short(obstacle, "shards (0.05 cores)")
    assert refused.code == "capacity_short"
    assert refused.message == (
        "host h1 has 12 of 20 shards (0.05 cores) of cpu left "
        "from 1970-01-01 00:35:00 to 1970-01-01 00:36:40 UTC"
    )
    assert refused.hint == (
        "9 would fit there for all of the time. All of it fits from 1970-01-01 00:41:40 UTC on."
    )
