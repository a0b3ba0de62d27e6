"""Sentences that people act on."""

from __future__ import annotations

import pytest

from evenkeel.api import cursor, words
from evenkeel.api.schemas import PairOut, Reading, VmOut
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.domain.vm import VmState

V = VmId("v")


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (SetVcpuPins(V, ((1,),)), "vCPU 0 pinned to CPU 1"),
        (SetVcpuPins(V, ((1,), (1,))), "vCPUs 0-1 pinned to CPU 1"),
        (SetVcpuPins(V, ((1,), (2, 3, 5))), "vCPU 0 pinned to CPU 1, vCPU 1 pinned to CPUs 2-3,5"),
        (SetCpuShares(V, 4096), "CPU weight set to 4096"),
        (SetCpuQuota(V, 100_000, 25_000), "CPU capped at 0.50 cores"),
        (SetCpuQuota(V, 100_000, -1), "CPU cap removed"),
    ],
)
def test_changes_in_words(instruction: Instruction, text: str) -> None:
    assert words.change(instruction, n_vcpus=2) == text


def a_vm(**loss: float | None) -> VmOut:
    readings = [
        Reading(
            resource=Resource(name),
            unit=SPECS[Resource(name)].unit,
            demand=1.0,
            usage=1.0,
            loss=value,
            self_limited=0.0,
        )
        for name, value in loss.items()
    ]
    return VmOut(
        id="v",
        name="web1",
        host="h1",
        tenant="t",
        state=VmState.RUNNING,
        n_vcpus=1,
        memory_mib=1.0,
        exempt=False,
        priority=1.0,
        cpus=[0],
        readings=readings,
        flaws=[],
        last_seen_s=0.0,
        worst_score=0.0,
        worst_aggressor=None,
        worst_aggressor_name=None,
    )


def a_pair(score: float, resource: Resource = Resource.CPU) -> PairOut:
    return PairOut(
        host="h1",
        victim="v",
        victim_name="web1",
        aggressor="a",
        aggressor_name="batch7",
        resource=resource,
        score=score,
        probability=1.0,
        severity=score / 100,
        confidence=0.9,
        window_s=60.0,
        n_samples=9,
        horizon_s=60.0,
        at_s=0.0,
    )


@pytest.mark.parametrize(
    ("vm", "pairs", "silent_s", "text"),
    [
        (
            a_vm(cpu=0.38, iops=0.1),
            [a_pair(36)],
            None,
            "web1 loses 38 % of the CPU it wants, mostly to batch7 (score 36, confidence 0.9).",
        ),
        (
            a_vm(cpu=0.38),
            [a_pair(36, Resource.IOPS)],
            None,
            "web1 loses 38 % of the CPU it wants, and no neighbour can be named for it.",
        ),
        (a_vm(cpu=0.004, iops=None), [a_pair(0.5)], None, "web1 loses nothing that can be seen."),
        (
            a_vm(cpu=0.0),
            [a_pair(12)],
            None,
            "web1 loses nothing now, but is expected to lose to batch7 (score 12, confidence 0.9).",
        ),
        (a_vm(cpu=None), [], None, "What web1 loses cannot be measured on h1 yet."),
        (
            a_vm(cpu=0.5),
            [a_pair(36)],
            42.0,
            "Nothing is known of web1 now: h1 has been silent for 42 s.",
        ),
    ],
)
def test_the_sentence_of_why(
    vm: VmOut, pairs: list[PairOut], silent_s: float | None, text: str
) -> None:
    assert words.summary(vm, pairs, silent_s) == text


def test_a_cursor_comes_back_and_nothing_else_does() -> None:
    assert cursor.decode(cursor.encode(("é/ü", 1.5, 7)), str, float, int) == ("é/ü", 1.5, 7)
    for bad in ("", "%", "AAAA", "a" * 4000, cursor.encode((1,)), cursor.encode(("a", "b"))):
        with pytest.raises(InvalidRequest):
            cursor.decode(bad, str)
