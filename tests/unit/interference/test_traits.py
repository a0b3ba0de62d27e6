"""Traits: told apart, only by evidence, forgotten in time, kept over restarts, and never a lie."""

from dataclasses import replace

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.domain.bundle import pack, unpack
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.interference.contention import score_host
from evenkeel.interference.hazards import Traits
from evenkeel.interference.kinds import (
    MOST_KEPT,
    Learnt,
    Priors,
    TraitMemory,
    expected,
    pool,
    said_by,
)
from evenkeel.interference.loads import host_loads
from evenkeel.interference.rows import present
from evenkeel.interference.traits import (
    LASTING_S,
    MOOD,
    MOOD_S,
    PRESSURE,
    SENSITIVITY,
    Belief,
    Evidence,
    evidence,
    learn,
)
from evenkeel.interference.window import Window


def world(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True log sensitivities and log pressures."""
    return rng.normal(0, 0.35, n), rng.normal(0, 0.6, n)


def one_tick(s: np.ndarray, p: np.ndarray, rng: np.random.Generator, spread: float) -> Evidence:
    """Half of the VMs meet, each pair as hard as it happens; what they lose follows the truth."""
    n = len(s)
    awake = rng.random(n) < 0.5
    parts = rng.exponential(0.2, (n, n)) * np.outer(awake, awake) * (1 - np.eye(n))
    hurt = parts.sum(axis=1) > 0
    with np.errstate(divide="ignore"):
        truth = s + np.log(parts @ np.exp(p))
    observed = np.where(hurt, truth + rng.normal(0, spread, n), np.nan)
    return Evidence(observed, np.full(n, 0.35**2), parts, np.zeros(n))


def learnt(ticks: int, s: np.ndarray, p: np.ndarray, seed: int, spread: float = 0.2) -> Belief:
    rng = np.random.default_rng(seed)
    belief = prior = Belief.nobody_knows(len(s))
    for _ in range(ticks):
        belief = learn(belief, prior, [one_tick(s, p, rng, spread)], 5.0)
    return belief


def test_sensitivity_and_pressure_are_recovered_apart() -> None:
    s, p = world(10, np.random.default_rng(4))
    belief = learnt(600, s, p, 5)
    said_s, said_p = belief.mean[SENSITIVITY, :, 0], belief.mean[PRESSURE, :, 0]
    # What all have in common can go to either side, so each is compared about its own mean.
    assert np.corrcoef(said_s, s)[0, 1] > 0.9
    assert np.corrcoef(said_p, p)[0, 1] > 0.95
    assert np.abs((said_s + said_p.mean()) - (s + p.mean())).max() < 0.35
    assert abs(np.corrcoef(said_s, p)[0, 1] - np.corrcoef(s, p)[0, 1]) < 0.2


def test_whoever_is_not_involved_keeps_its_prior() -> None:
    s, p = world(6, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    belief = prior = Belief.nobody_knows(6)
    for _ in range(50):
        seen = one_tick(s, p, rng, 0.1)
        parts = seen.parts.copy()
        parts[5] = parts[:, 5] = 0.0
        observed = seen.observed.copy()
        observed[5] = np.nan
        observed[parts.sum(axis=1) == 0] = np.nan
        belief = learn(belief, prior, [replace(seen, parts=parts, observed=observed)], 5.0)
    assert (belief.mean[:, 5] == 0).all()
    assert belief.variance[:, 5] == pytest.approx(prior.variance[:, 5])
    assert (belief.mean[:, :5, 1:] == 0).all(), "other resources were not measured"


def test_one_wild_number_moves_little_and_many_true_ones_win() -> None:
    s, p = np.zeros(4), np.zeros(4)
    calm = learnt(300, s, p, 3)
    seen = one_tick(s, p, np.random.default_rng(9), 0.0)
    wild = replace(seen, observed=seen.observed + 9.0)
    after = learn(calm, Belief.nobody_knows(4), [wild], 5.0)
    assert np.abs(after.mean - calm.mean).max() < 0.15


def test_what_is_not_seen_again_is_forgotten() -> None:
    s, p = world(5, np.random.default_rng(4))
    belief, prior = learnt(200, s, p, 5), Belief.nobody_knows(5)
    later = learn(belief, prior, [], 6 * LASTING_S)
    assert np.abs(later.mean).max() < 0.01
    assert later.variance == pytest.approx(prior.variance, rel=0.01)


def test_a_vm_that_changed_is_learnt_anew() -> None:
    s, p = np.zeros(6), np.zeros(6)
    p[0] = 1.0
    rng = np.random.default_rng(8)
    belief, prior = learnt(400, s, p, 8), Belief.nobody_knows(6)
    assert belief.mean[PRESSURE, 0, 0] > 0.5
    p[0] = -1.0
    for _ in range(400):
        belief = learn(belief, prior, [one_tick(s, p, rng, 0.2)], 5.0)
    assert belief.mean[PRESSURE, 0, 0] < -0.3


VICTIM, NOISY, CALM = a_vm("victim", [0]), a_vm("noisy", [0]), a_vm("calm", [1])
VMS = [VICTIM, NOISY, CALM]


def collision(loss: float, flaws: frozenset[Flaw] = frozenset()) -> tuple[Window, HostTick]:
    """Both want 60 % of one core: physics says .3; what is measured is `loss`."""
    ticks = [a_tick(5.0 * i, VMS, [0.6, 0.6, 0.3], [loss, loss, 0], flaws=flaws) for i in range(8)]
    return a_window(ticks), ticks[-1]


@pytest.mark.parametrize(
    ("loss", "flaws"),
    [
        (np.nan, frozenset()),
        (1.5, frozenset()),
        (-0.2, frozenset()),
        (0.5, frozenset({Flaw.IMPLAUSIBLE})),
        (0.5, frozenset({Flaw.RESET})),
        (0.5, frozenset({Flaw.NEW})),
    ],
)
def test_a_loss_that_lies_teaches_nothing(loss: float, flaws: frozenset[Flaw]) -> None:
    window, tick = collision(loss, flaws)
    seen = evidence(host_loads(present(window, 7.5), a_host()), tick)
    assert all(np.isnan(one.observed).all() for one in seen)


def test_traits_close_the_gap_between_physics_and_what_is_measured() -> None:
    window, tick = collision(0.45)
    loads = host_loads(present(window, 7.5), a_host())
    plain = score_host(window, a_host(), 7.5)
    assert plain.predicted[CPU_AXIS, 0] == pytest.approx(0.3, abs=0.01)
    belief = prior = Belief.nobody_knows(3)
    for _ in range(100):
        belief = learn(belief, prior, evidence(loads, tick), 5.0)
    scored = score_host(window, a_host(), 7.5, belief.traits())
    assert scored.predicted[CPU_AXIS, :2] == pytest.approx([0.45, 0.45], abs=0.02)
    total = scored.score[CPU_AXIS].sum(axis=1)
    assert total == pytest.approx(100 * scored.predicted[CPU_AXIS], abs=1e-9)
    assert (belief.mean[:, 2] == 0).all(), "the calm one had no part in it"


def test_a_mood_is_followed_within_a_minute_and_gone_in_the_next() -> None:
    seen = Evidence(
        np.array([np.log(0.4), np.nan]), np.full(2, 0.01), np.array([[0, 0.2], [0, 0]]), np.zeros(2)
    )
    known = Belief.nobody_knows(2)
    known.variance[:MOOD] = 0.01
    belief = known
    for _ in range(12):
        belief = learn(belief, Belief.nobody_knows(2), [seen], 5.0)
    now = belief.traits()
    assert now.sensitivity[0, 0] * now.pressure[1, 0] == pytest.approx(2.0, rel=0.15)
    later = belief.traits(ahead_s=3 * MOOD_S)
    assert later.sensitivity[0, 0] * later.pressure[1, 0] < 1.5


def test_traits_of_one_change_nothing() -> None:
    window, _ = collision(0.4)
    ones = Traits(np.ones((3, N_RESOURCES)), np.ones((3, N_RESOURCES)))
    plain, with_ones = score_host(window, a_host(), 7.5), score_host(window, a_host(), 7.5, ones)
    np.testing.assert_allclose(with_ones.score, plain.score, atol=1e-9)


def test_what_was_learnt_of_a_vm_outlives_its_absence() -> None:
    belief = learnt(100, *world(3, np.random.default_rng(1)), 2)
    memory = TraitMemory().with_(VMS, belief)
    away = memory.with_(VMS[:1], memory.belief(VMS[:1], Priors()))
    back = away.belief(VMS, Priors())
    np.testing.assert_array_equal(back.mean[:MOOD], belief.mean[:MOOD])
    assert (back.mean[MOOD, 1:] == 0).all(), "moods pass"
    assert (back.mean[MOOD, 0] == belief.mean[MOOD, 0]).all()


def test_memory_is_bounded_and_forgets_those_not_seen_for_longest() -> None:
    crowd = [a_vm(f"{i}") for i in range(MOST_KEPT + 5)]
    memory = TraitMemory().with_(VMS, Belief.nobody_knows(3))
    memory = memory.with_(crowd, Belief.nobody_knows(len(crowd)))
    assert len(memory.kept) == MOST_KEPT
    assert VICTIM.id not in memory.kept
    assert crowd[-1].id in memory.kept


def test_two_vms_of_one_name_are_learnt_apart() -> None:
    twins = [a_vm("twin"), replace(a_vm("twin"), id=VmId("another"))]
    belief = Belief.nobody_knows(2)
    belief.mean[PRESSURE, 0] = 1.0
    memory = TraitMemory().with_(twins, belief)
    assert memory.belief(twins[::-1], Priors()).mean[PRESSURE, :, 0].tolist() == [0.0, 1.0]


def test_a_vm_without_history_takes_after_its_kind() -> None:
    rng = np.random.default_rng(0)
    rude = Belief.nobody_knows(8)
    rude.mean[PRESSURE] = 1.0 + rng.normal(0, 0.05, (8, N_RESOURCES))
    rude.variance[:] = 0.01
    vms = [a_vm(f"r{i}", tenant="rude") for i in range(8)]
    kinds = pool(said_by(TraitMemory().with_(vms, rude).kept.values()))
    newcomer, stranger = a_vm("new", tenant="rude"), a_vm("new", tenant="unheard")
    belief = expected([newcomer, stranger], kinds)
    alike, other = belief.mean[PRESSURE, :, 0]
    assert alike > 0.75
    assert 0 < other < alike
    assert belief.variance[PRESSURE, 0, 0] < belief.variance[PRESSURE, 1, 0]
    nobody = expected([newcomer], Priors())
    assert (nobody.mean == 0).all()


def test_vms_that_nothing_was_learnt_of_say_nothing_of_their_kind() -> None:
    vms = [a_vm(f"r{i}") for i in range(50)]
    shifted = Belief.nobody_knows(50)
    shifted.mean[:] = 0.7
    kinds = pool(said_by(TraitMemory().with_(vms, shifted).kept.values()))
    assert (expected(vms[:1], kinds).mean == 0).all()


def test_what_hosts_say_adds_up() -> None:
    """Pooled over two hosts is pooled over all their VMs."""
    rng = np.random.default_rng(3)
    vms = [a_vm(f"v{i}", tenant=f"t{i % 3}") for i in range(9)]
    belief = learnt(100, *world(9, rng), 4)
    kept = TraitMemory().with_(vms, belief).kept
    learnt_of = [kept[vm.id] for vm in vms]
    together = pool(said_by(learnt_of))
    apart = pool([*said_by(learnt_of[:4]), *said_by(learnt_of[4:])])
    assert list(apart.by_kind) == list(together.by_kind)
    for kind, prior in together.by_kind.items():
        np.testing.assert_allclose(apart.by_kind[kind].mean, prior.mean)
        np.testing.assert_allclose(apart.by_kind[kind].variance, prior.variance)


def test_memory_and_priors_survive_as_bytes() -> None:
    memory = TraitMemory().with_(VMS, learnt(50, *world(3, np.random.default_rng(1)), 2))
    again = TraitMemory.load(memory.save())
    assert list(again.kept) == list(memory.kept)
    np.testing.assert_array_equal(
        again.belief(VMS, Priors()).mean[:MOOD], memory.belief(VMS, Priors()).mean[:MOOD]
    )
    priors = pool(said_by(memory.kept.values()))
    assert Priors.load(priors.save()).save() == priors.save()
    assert not TraitMemory.load(TraitMemory().save()).kept


def damaged() -> list[bytes]:
    one = Learnt("a/b", np.zeros((2, N_RESOURCES)), np.ones((2, N_RESOURCES)))
    good = Priors({"a/b": one}).save()
    told = unpack(good)
    changes = [
        {"format": np.array([99])},
        {"mean": np.full((1, 2, N_RESOURCES), np.nan)},
        {"mean": np.full((1, 2, N_RESOURCES), 40.0)},
        {"variance": np.zeros((1, 2, N_RESOURCES))},
        {"variance": np.ones((1, 2, 1))},
        {"names": np.frombuffer(b"a\nb", dtype=np.uint8)},
        {"names": np.frombuffer(b"\xff\xfe", dtype=np.uint8)},
    ]
    missing = {name: array for name, array in told.items() if name != "kinds"}
    return [
        b"",
        b"nonsense",
        good[: len(good) // 2],
        TraitMemory().save(),
        pack(**missing),
        *(pack(**(told | change)) for change in changes),
    ]


@pytest.mark.parametrize("blob", damaged())
def test_a_damaged_or_foreign_model_is_refused(blob: bytes) -> None:
    with pytest.raises(ModelCorrupt):
        Priors.load(blob)
