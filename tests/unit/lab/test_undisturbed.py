"""What was measured while the machine was elsewhere is measured again."""

from __future__ import annotations

import time

import pytest

from evenkeel.lab.undisturbed import MOST, TRIES, undisturbed

CPUS = frozenset({1, 2})
SPAN_S = 0.02


class Machine:
    """Its host takes away the given shares of its CPUs' time, one for each measurement."""

    def __init__(self, shares: list[float]) -> None:
        self._shares = shares
        self._stolen_s = 0.0
        self.n_measured = 0

    def measure(self) -> int:
        time.sleep(SPAN_S)
        self._stolen_s += self._shares[self.n_measured] * len(CPUS) * SPAN_S
        self.n_measured += 1
        return self.n_measured

    def stolen_ns(self, cpus: frozenset[int]) -> int:
        assert cpus == CPUS
        return round(self._stolen_s * 1e9)


@pytest.mark.parametrize(
    ("shares", "kept", "told"),
    [
        ([0.0], 1, 0),
        ([0.5, 0.0], 2, 1),
        ([0.5, 0.9, 0.0], 3, 2),
        ([0.9, 0.4, 0.7], 2, TRIES - 1),
    ],
)
def test_the_least_disturbed_is_kept(shares: list[float], kept: int, told: int) -> None:
    machine, heard = Machine(shares), []
    found, stolen = undisturbed(machine.measure, CPUS, heard.append, machine.stolen_ns)

    assert found == kept
    assert machine.n_measured == len(shares)
    # What a sleep takes longer than it was told makes the share smaller.
    assert stolen <= min(shares)
    assert stolen > min(shares) / 2 or not min(shares)
    assert len(heard) == told
    assert all(share > MOST for share in heard)


def test_a_machine_that_does_not_tell_is_believed() -> None:
    assert undisturbed(lambda: "rate", CPUS, stolen_ns=lambda _: None) == ("rate", 0.0)
