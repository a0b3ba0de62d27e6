"""Profilers inside real guests, found and read by a real agent: the work that is lost, from inside.

Judged from outside: what each guest does a second, counted over HTTP.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import httpx2
import pytest
from tests.real_fleet import guests_on, observing

from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import JOBS, Guest
from evenkeel.lab.lab import Lab
from evenkeel.lab.scenarios import WorkMeter

pytestmark = pytest.mark.integration

LEARN_S = 30.0
"""So long the agent sees how fast the machine can be: what is lost is lost against that."""
SETTLE_S = 2.5
SPAN_S = 5.0
TIMES = 7
"""Quiet and hurt in turn: the machine's own speed may double and halve within a minute."""


@pytest.fixture(scope="module")
def fleet(make_lab: Callable[..., Lab]) -> Iterator[Fleet]:
    lab = make_lab(n_hosts=1, cpus_per_host=((1,),))
    lab.outweigh()
    with observing(lab) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def guests(fleet: Fleet) -> Iterator[dict[str, Guest]]:
    specs = {
        "told-cpu": GuestSpec(),
        "told-write": GuestSpec(disk_mib=64),
        "noisy": GuestSpec(),
        "mute": GuestSpec(profiler=False),
    }
    with guests_on(fleet, specs) as made:
        yield made


def inside(fleet: Fleet, name: str) -> float | None:
    vms = {vm["name"]: vm for vm in fleet.get("/v1/vms")["items"]}
    loss: float | None = vms[name]["inside_loss"]
    return loss


def test_a_guest_without_a_profiler_loses_nothing_but_that(
    fleet: Fleet, guests: dict[str, Guest]
) -> None:
    fleet.wait(lambda: len(fleet.get("/v1/vms")["items"]) == 4, 20, "all guests")
    vms = {vm["name"]: vm for vm in fleet.get("/v1/vms")["items"]}

    assert vms["mute"]["inside_loss"] is None
    assert not [flaw for flaw in vms["mute"]["flaws"] if flaw.startswith("profiler")]
    assert any(r["demand"] is not None for r in vms["mute"]["readings"])


@pytest.mark.parametrize("job", ["cpu", "write"])
def test_the_loss_from_inside_follows_the_work_counted_outside(
    fleet: Fleet, guests: dict[str, Guest], job: str
) -> None:
    told, noisy = guests[f"told-{job}"], guests["noisy"]
    noisy.set_load(cpu=0)
    told.set_load(cpu=50, job=JOBS.index(job))
    meter = WorkMeter(told)

    def measure(others: int) -> tuple[float, list[float | None]]:
        """Work per second beside a neighbour of `others` percent, and what is said meanwhile."""
        noisy.set_load(cpu=others)
        time.sleep(SETTLE_S)
        begun_s, said = time.time(), []
        while (now_s := time.time()) < begun_s + SPAN_S:
            said.append(inside(fleet, told.name))
            time.sleep(0.5)
        return meter.rate(begun_s, now_s), said

    try:
        time.sleep(LEARN_S)
        spans = [measure(others) for others in (0, *(90, 0) * TIMES)]
    finally:
        meter.stop()
        noisy.set_load(cpu=0)
        told.set_load(cpu=0)
    rates = [rate for rate, _ in spans]
    known = [[s for s in said if s is not None] for _, said in spans]
    speeds = [1 - statistics.mean(k) for k in known if k]

    assert sum(map(len, known)) > sum(len(said) for _, said in spans) / 2
    assert len(speeds) == len(spans), "something is said in each"
    lost, missed = losses(rates), losses(speeds)
    assert statistics.median(lost) > 0.2, "the two share a core"
    off = [m - one for m, one in zip(missed, lost, strict=True)]
    # A disk is shared with whatever else this machine does, and so is less steady.
    assert abs(statistics.median(off)) < (0.1 if job == "cpu" else 0.15), (lost, missed)


def losses(in_turn: list[float]) -> list[float]:
    """Of spans that are quiet and hurt in turn: how much lower each hurt one is than the quiet
    ones on either side."""
    quiet, hurt = in_turn[::2], in_turn[1::2]
    return [
        1 - 2 * one / (before + after)
        for one, (before, after) in zip(hurt, pairwise(quiet), strict=True)
    ]


def test_prometheus_has_it(fleet: Fleet, guests: dict[str, Guest]) -> None:
    url = f"http://{fleet.lab.host('h1').address}:9177/metrics"
    guests["told-cpu"].set_load(cpu=30)  # who does nothing says nothing of how fast it does it

    def told(name: str) -> bool:
        return f'inside_loss_ratio{{domain="{name}"' in httpx2.get(url, timeout=10).text

    fleet.wait(lambda: told("told-cpu"), 30, "the profiler's family")
    assert not told("mute")
