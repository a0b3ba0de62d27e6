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
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20.0) as http:
        client = _Client(http, urls, sizes, noted, f"{seed}-{name}", f"tenant{name}")
        while time.monotonic() < until_s:
            await client.operate()


class _Client:
    """One that waits for each answer."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        urls: list[str],
        sizes: Sizes,
        noted: Noted,
        name: str,
        owner: str,
    ) -> None:
        self._http = http
        self._urls = urls
        self._sizes = sizes
        self._noted = noted
        self._name = name
        self._owner = owner
        self._rng = random.Random(name)  # noqa: S311
        self._n_keys = 0
        self._mine: list[str] = []

    async def operate(self) -> None:
        """One operation, seen through."""
        rng, mine = self._rng, self._mine
        at = rng.random()
        if not mine or (at < 0.45 and len(mine) < MOST_HELD):
            body = _claim(rng, self._key(), self._owner, self._sizes)
            told = await self._done("claims", "POST", "/v1/claims", body)
            if told:
                mine.append(told["id"])
        elif at < 0.75:
            await self._done("changes", "PATCH", _path(rng.choice(mine)), _change(rng, self._sizes))
        elif at < 0.8:
            await self._split(rng.choice(mine))
        elif at < 0.83 and len(mine) > 1:
            one, other = rng.sample(mine, 2)
            if await self._done("merges", "POST", _path(one, "/merge"), {"other": other}):
                mine.remove(other)
                await self._look(other)
        else:
            await self._done("releases", "DELETE", _path(mine.pop(rng.randrange(len(mine)))), None)

    async def _split(self, claim: str) -> None:
        lots = self._noted.claims[claim]["lots"]
        if not lots:
            return
        lot = self._rng.choice(lots)
        ask = {name: lot[name] for name in ("host", "resource", "performance")}
        ask["n_shards"] = self._rng.randint(1, lot["n_shards"])
        body = {"key": self._key(), "owner": self._owner, "vm": "part", "asks": [ask]}
        told = await self._done("splits", "POST", _path(claim, "/split"), body)
        if told:
            self._mine.append(told["id"])
            await self._look(claim)

    async def _look(self, claim: str) -> None:
        """What another operation left of a claim."""
        answer, _ = await self._ask("GET", _path(claim), None)
        self._noted.claims[claim] = answer.json()

    def _key(self) -> str:
        self._n_keys += 1
        return f"{self._name}-{self._n_keys}"

    async def _done(self, what: str, method: str, path: str, body: Json | None) -> Json | None:
        """The claim as answered, noted; None: refused."""
        answer, at_once = await self._ask(method, path, body)
        told: Json = answer.json()
        if answer.is_success:
            self._noted.counts[what] += 1
            self._noted.claims[told["id"]] = told
            return told
        code = told["error"]["code"]
        self._noted.counts[f"refused.{code}"] += 1
        if code == "claim_ended":
            ended = path.split("/")[3]
            self._mine.remove(ended)
            if not at_once and body is not None:
                self._noted.doubtful[ended] = body
        return None

    async def _ask(self, method: str, path: str, body: Json | None) -> tuple[httpx2.Response, bool]:
        """The controller's answer, be it a refusal, and whether the first asking got it.

        Raises NoAnswer when it stays away.
        """
        noted, give_up_s = self._noted, time.monotonic() + PATIENCE_S
        is_first, last = True, ""
        while time.monotonic() < give_up_s:
            began_s = time.perf_counter()
            try:
                url = self._rng.choice(self._urls) + path
                answer = await self._http.request(method, url, json=body)
            except httpx2.HTTPError as error:
                noted.counts["asked_again"] += 1
                last = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code < 500:
                    if is_first:
                        noted.took_ms.append((time.perf_counter() - began_s) * 1e3)
                    return answer, is_first
                noted.counts[f"failed.{answer.status_code}"] += 1
                last = f"{answer.status_code}: {answer.text[:300]}"
            is_first = False
            await asyncio.sleep(AWAY_S * (1 + self._rng.random()))
        raise NoAnswer(
            f"{method} {path} was not answered in {PATIENCE_S:.0f} s; {dict(noted.counts)}; "
            f"the last time: {url}: {last}"
        )


def _path(claim: str, verb: str = "") -> str:
    return f"/v1/claims/{claim}{verb}"


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
