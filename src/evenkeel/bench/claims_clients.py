"""Clients that claim, resize, move, extend and release at random, and note what was answered.

Each waits for an answer before it goes on: while the controller is away, or in doubt whether it
did what was asked, it asks the same again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

RESOURCES: Final = ("cpu", "memory", "net", "iops")
CLASSES: Final = ("pinned", "shared", "best-effort")
AWAY_S: Final = 0.3
PATIENCE_S: Final = 120.0
MOST_HELD: Final = 12
"""A client with so many claims gives one back before it takes another."""

Json = dict[str, Any]


class NoAnswer(Exception):
    """The controller did not come back."""


@dataclass(slots=True)
class Noted:
    """What clients were told: `claims` by id, each as of the last answer, and how it was counted;
    `took_ms` of requests that were answered at once. `doubtful`: changes that were asked for
    more than once, and refused in the end because the claim had ended, perhaps by the first."""

    claims: dict[str, Json] = field(default_factory=dict)
    doubtful: dict[str, Json] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    took_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Sizes:
    """Of the fleet: `shards` of each resource that a host has."""

    hosts: list[str]
    shards: dict[str, int]


async def run_client(
    name: int, urls: list[str], token: str, sizes: Sizes, until_s: float, noted: Noted, seed: int
) -> None:
    """Until `until_s` by the monotonic clock; the last operation is seen through."""
    rng = random.Random(f"{seed}-{name}")  # noqa: S311
    mine: list[str] = []
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20.0) as http:
        k = 0
        while time.monotonic() < until_s:
            k += 1
            at = rng.random()
            if not mine or (at < 0.45 and len(mine) < MOST_HELD):
                body = _claim(rng, f"{seed}-{name}-{k}", f"tenant{name}", sizes)
                answer, at_once = await _ask(http, rng, urls, "POST", "/v1/claims", body, noted)
                done = "claims"
            elif at < 0.8:
                path = f"/v1/claims/{rng.choice(mine)}"
                body = _change(rng, sizes)
                answer, at_once = await _ask(http, rng, urls, "PATCH", path, body, noted)
                done = "changes"
            else:
                path = f"/v1/claims/{mine.pop(rng.randrange(len(mine)))}"
                answer, at_once = await _ask(http, rng, urls, "DELETE", path, None, noted)
                done = "releases"
            if answer.is_success:
                told = answer.json()
                noted.counts[done] += 1
                noted.claims[told["id"]] = told
                if done == "claims":
                    mine.append(told["id"])
                continue
            code = answer.json()["error"]["code"]
            noted.counts[f"refused.{code}"] += 1
            if code == "claim_ended":
                ended = path.rpartition("/")[2]
                mine.remove(ended)
                if not at_once:
                    noted.doubtful[ended] = body


async def _ask(
    http: httpx2.AsyncClient,
    rng: random.Random,
    urls: list[str],
    method: str,
    path: str,
    body: Json | None,
    noted: Noted,
) -> tuple[httpx2.Response, bool]:
    """The controller's answer, be it a refusal, and whether the first asking got it.

    Raises NoAnswer when it stays away.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    is_first = True
    while time.monotonic() < give_up_s:
        began_s = time.perf_counter()
        try:
            answer = await http.request(method, rng.choice(urls) + path, json=body)
        except httpx2.HTTPError:
            noted.counts["asked_again"] += 1
        else:
            if answer.status_code < 500:
                if is_first:
                    noted.took_ms.append((time.perf_counter() - began_s) * 1e3)
                return answer, is_first
            noted.counts[f"failed.{answer.status_code}"] += 1
        is_first = False
        await asyncio.sleep(AWAY_S * (1 + rng.random()))
    raise NoAnswer(f"{method} {path} was not answered in {PATIENCE_S:.0f} s")


def _claim(rng: random.Random, key: str, owner: str, sizes: Sizes) -> Json:
    start_s = int(time.time()) + rng.choice((0, 0, rng.randint(0, 300)))
    return {
        "key": key,
        "owner": owner,
        "vm": f"vm-{rng.randint(0, 999)}",
        "start_s": start_s,
        "end_s": start_s + rng.randint(5, 900),
        "asks": _asks(rng, sizes),
    }


def _change(rng: random.Random, sizes: Sizes) -> Json:
    now_s = int(time.time())
    body: Json = {}
    if rng.random() < 0.7:
        body["asks"] = _asks(rng, sizes)
        if rng.random() < 0.3:
            body["from_s"] = now_s + rng.randint(0, 100)
    if not body or rng.random() < 0.4:
        body["end_s"] = now_s + rng.randint(5, 900)
    return body


def _asks(rng: random.Random, sizes: Sizes) -> list[Json]:
    """Of one to three hosts some resources, a tenth of what there is on average."""
    asks = []
    for host in rng.sample(sizes.hosts, rng.choice((1, 1, 2, 3))):
        for resource in rng.sample(RESOURCES, rng.randint(1, 4)):
            n = rng.randint(1, max(1, sizes.shards[resource] // 5))
            ask: Json = {"host": host, "resource": resource, "n_shards": n}
            ask["performance"] = rng.choices(CLASSES, (4, 5, 1))[0]
            if ask["performance"] == "shared" and resource == "cpu" and rng.random() < 0.5:
                cores = n * 0.05
                ask["demand"] = [{"mean": cores * 0.3, "deviation": cores * 0.15}]
            asks.append(ask)
    return asks
