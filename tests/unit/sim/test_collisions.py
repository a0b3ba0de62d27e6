"""Staged collisions: the truth is who, taken away, makes the loss go away."""

import pytest

from evenkeel.bench.attribution import OURS, look, metrics, reliability
from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.sim.collisions import CASES, VICTIM, collision


@pytest.mark.parametrize(
    ("case", "guilty"),
    [
        ("one", ("loud",)),
        ("bystander", ("loud",)),
        ("periodic", ("loud",)),
        ("itself", (VICTIM,)),
    ],
)
def test_the_culprit_is_the_one_that_was_staged(case, guilty):
    found = [staged.culprits() for staged in (collision(case, seed) for seed in range(3))]
    assert set(found) <= {guilty, ()}
    assert guilty in found


def test_the_host_is_the_culprit_or_the_one_that_joined_in():
    found = {collision("host", seed).culprits() for seed in range(5)}
    assert (HOST_ITSELF,) in found
    assert {name for names in found for name in names} <= {HOST_ITSELF, "a-little"}


@pytest.mark.parametrize("case", CASES)
def test_a_collision_is_its_seeds(case):
    assert collision(case, 5) == collision(case, 5) != collision(case, 6)


def test_a_look_asks_every_rule_the_same_question():
    said = look(collision("bystander", 2))
    ours = [s for s in said if s.rule == OURS]
    assert ours
    assert {s.named for s in ours} == {"loud"}
    assert {s.named for s in said if s.rule == "biggest-user"} == {"bystander"}
    figures = metrics(ours)
    assert (figures["culprit_first"], figures["culprit_first.bystander"]) == (1.0, 1.0)
    assert sum(b["n"] for b in reliability(ours)) == len(ours)
