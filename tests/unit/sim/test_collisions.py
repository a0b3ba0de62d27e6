"""Staged collisions: the truth is who, taken away, makes the loss go away."""

import pytest

from evenkeel.bench.attribution import OURS, Naming, look, metrics, reliability
from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.sim.collisions import CASES, VICTIM, Collision, Player, collision
from evenkeel.sim.workload import Steady


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


def test_a_victim_that_wants_more_beside_a_neighbour_busy_as_always_is_its_own_culprit():
    """It loses the same share of more: what it loses counts in cores."""
    victim = Player(VICTIM, Steady(0.2), loud=Steady(0.8))
    busy = Player("busy", Steady(0.9), loud=Steady(0.9))
    assert Collision("made", 1, (victim, busy), n_cpus=1).culprits() == (VICTIM,)


def test_where_the_victim_loses_nothing_nobody_is_guilty():
    victim = Player(VICTIM, Steady(0.5))
    elsewhere = Player("elsewhere", Steady(0.1), loud=Steady(1.0), cpus=(1,))
    assert Collision("made", 1, (victim, elsewhere), n_cpus=2).culprits() == ()


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


@pytest.mark.parametrize(("sure", "gap"), [(1.0, 0.5), (0.5, 0.0), (0.1, -0.4)])
def test_whoever_names_one_of_two_equals_is_right_half_of_the_time(sure, gap):
    one = Naming("two", 1, 20.0, OURS, "loud", ("loud", "too"), sure)
    (found,) = reliability([one])
    assert (found["right"], found["gap"]) == (0.5, pytest.approx(gap))
    figures = metrics([one])
    assert figures["culprit_first"] == 1.0, "either is a culprit"
    assert figures["brier"] == pytest.approx(0.5 * (1 - sure) ** 2 + 0.5 * sure**2)


def test_an_innocent_is_named_wrongly_however_many_are_guilty():
    one = Naming("two", 1, 20.0, OURS, "bystander", ("loud", "too"), 0.8)
    assert reliability([one])[0]["right"] == 0.0
    assert metrics([one])["brier"] == pytest.approx(0.64)
