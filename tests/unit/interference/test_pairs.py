"""Folds leave out what they say; traits that are known are found again; judges judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from coruns import known_traits, placed, queued

from evenkeel.domain.corun import CoRuns, joined
from evenkeel.interference.pairs.base import Facing, Scale, loss
from evenkeel.interference.pairs.catalogue import models
from evenkeel.interference.pairs.folds import folds, unseen
from evenkeel.interference.pairs.judge import auc, metrics, reliability
from evenkeel.interference.pairs.process import minimum
from evenkeel.interference.pairs.queue import hazards
from evenkeel.interference.pairs.traits import TraitsModel


def error(model, co_runs: CoRuns, facing: Facing, n_folds: int) -> float:
    found = []
    for _, train, test in folds(co_runs, facing, n_folds, seed=1):
        said = model.fit(co_runs.take(train), 1).predict(co_runs.take(test).blind())
        found.append(np.abs(said.expected - co_runs.slowdown[test]))
    return float(np.concatenate(found).mean())


def test_a_workload_left_out_is_on_neither_side():
    co_runs = known_traits(5)
    cuts = folds(co_runs, Facing.WORKLOAD, 0, seed=1)
    assert [name for name, _, _ in cuts] == [f"w{i}" for i in range(5)]
    for name, train, test in cuts:
        left = co_runs.take(train)
        assert name not in {*left.victim, *left.partner}
        assert int(test.sum()) == 9
        assert (train ^ test).all()


@pytest.mark.parametrize("n_folds", [0, 4])
def test_both_directions_and_repeats_of_a_pair_stay_together(n_folds):
    co_runs = joined([known_traits(5), known_traits(5)])
    cuts = folds(co_runs, Facing.PAIR, n_folds, seed=1)
    assert len(cuts) == (n_folds or 15)
    for _, train, test in cuts:
        assert not set(co_runs.take(train).pair) & set(co_runs.take(test).pair)
    assert np.sum([test for _, _, test in cuts], axis=0).tolist() == [1] * co_runs.n


@pytest.mark.parametrize("seed", range(4))
def test_every_group_of_pairs_has_as_many_of_each_workload(seed):
    cuts = folds(known_traits(6), Facing.PAIR, 6, seed)
    assert len(cuts) == 6
    for _, _, test in cuts:
        left_out = known_traits(6).take(test)
        assert sorted(left_out.victim) == sorted(left_out.partner) == [f"w{i}" for i in range(6)]


@pytest.mark.parametrize("n_folds", [0, 2, 10, 100])
def test_few_pairs_are_left_out_each_by_itself(n_folds):
    """Two pairs whose workloads' numbers add up alike are no reason to leave out nothing."""
    whole = known_traits(4)
    for seed in range(6):
        few = whole.take(np.array([pair in (("w0", "w3"), ("w1", "w2")) for pair in whole.pair]))
        assert sorted(name for name, _, _ in folds(few, Facing.PAIR, n_folds, seed)) == [
            "('w0', 'w3')",
            "('w1', 'w2')",
        ]


def test_campaigns_each_by_itself_or_nothing_at_all():
    co_runs = placed(40)
    assert [name for name, _, _ in folds(co_runs, Facing.CAMPAIGN, 0, 1)] == list("abcd")
    one = co_runs.take(np.array([name == "a" for name in co_runs.campaign]))
    assert folds(one, Facing.CAMPAIGN, 0, 1) == []


def test_what_is_unseen_in_another_file():
    co_runs = known_traits(5)
    old = np.array(["w4" not in pair for pair in co_runs.pair])
    train = co_runs.take(old)
    for facing in (Facing.WORKLOAD, Facing.PAIR):
        np.testing.assert_array_equal(unseen(train, co_runs, facing), ~old)
    assert not unseen(train, co_runs, Facing.CAMPAIGN).any()


def test_known_traits_are_found_again_for_unseen_pairs():
    co_runs = known_traits(9)
    ours = error(TraitsModel(Facing.PAIR), co_runs, Facing.PAIR, 6)
    effects = models(Facing.PAIR, Scale.SLOWDOWN, co_runs)["effects"]
    assert ours < 0.03
    assert ours < 0.8 * error(effects, co_runs, Facing.PAIR, 6)


def test_known_traits_are_found_again_for_unseen_workloads():
    co_runs = known_traits(9)
    ours = error(TraitsModel(Facing.WORKLOAD), co_runs, Facing.WORKLOAD, 0)
    constant = models(Facing.WORKLOAD, Scale.SLOWDOWN, co_runs)["constant"]
    assert ours < 0.6 * error(constant, co_runs, Facing.WORKLOAD, 0)


def test_where_two_run_is_what_tells_campaigns_apart():
    co_runs = placed(60)
    model = TraitsModel(Facing.CAMPAIGN)
    knowing = error(model, co_runs, Facing.CAMPAIGN, 0)
    assert knowing < 0.3 * error(model, co_runs.without_placement(), Facing.CAMPAIGN, 0)


def test_diluted_members_help_where_partners_are_gone_before_the_victim():
    """The truth here is that who is there for half of the time hurts half as much."""
    co_runs = known_traits(6)
    seconds = np.array([5.0, 9.0, 17.0, 30.0, 55.0, 100.0])
    victim, partner = co_runs.victim_solo.copy(), co_runs.partner_solo.copy()
    victim[:, -1] = seconds[[int(name[1:]) for name in co_runs.victim]]
    partner[:, -1] = seconds[[int(name[1:]) for name in co_runs.partner]]
    logs = np.log(co_runs.slowdown) * np.minimum(partner[:, -1] / victim[:, -1], 1.0)
    co_runs = replace(co_runs, victim_solo=victim, partner_solo=partner, slowdown=np.exp(logs))
    error_of_both, error_of_plain = [], []
    for _, train, test in folds(co_runs, Facing.PAIR, 3, seed=1):
        ask = co_runs.take(test)
        both = TraitsModel(Facing.PAIR).fit(co_runs.take(train), 1)
        plain = replace(both, members=tuple(m for m in both.members if not m.is_diluted))
        for fitted, errors in ((both, error_of_both), (plain, error_of_plain)):
            errors += list(np.abs(np.log(fitted.predict(ask.blind()).expected) - logs[test]))
    assert np.mean(error_of_both) < 0.95 * np.mean(error_of_plain)


def test_spread_is_wider_for_one_never_seen():
    co_runs = known_traits(9)
    known = np.array(["w0" not in pair for pair in co_runs.pair])
    fitted = TraitsModel(Facing.WORKLOAD).fit(co_runs.take(known), 1)
    spread = fitted.predict(co_runs.blind()).spread
    assert np.median(spread[~known]) > 1.5 * np.median(spread[known])


def test_other_features_are_refused():
    fitted = TraitsModel(Facing.WORKLOAD).fit(known_traits(4), 1)
    with pytest.raises(ValueError, match="other features"):
        fitted.predict(placed(10))


def test_columns_of_other_lengths_are_refused():
    from dataclasses import replace

    co_runs = known_traits(3)
    with pytest.raises(ValueError, match="partner"):
        replace(co_runs, partner=("w0",))
    with pytest.raises(ValueError, match="above 0"):
        replace(co_runs, slowdown=np.zeros(co_runs.n))
    with pytest.raises(ValueError, match="different"):
        joined([co_runs, placed(10)])


def test_the_search_goes_downhill():
    target = np.array([1.5, -2.0, 0.3])
    found = minimum(lambda x: float(((x - target) ** 2).sum()), np.zeros(3))
    np.testing.assert_allclose(found, target, atol=0.1)


def test_loss_auc_and_bins():
    np.testing.assert_allclose(loss(np.array([1.0, 2.0, 0.9])), [0.0, 0.5, 0.0])
    assert auc(np.array([1.0, 2.0, 3.0]), np.array([False, True, True])) == 1.0
    assert auc(np.array([1.0, 1.0]), np.array([False, True])) == 0.5
    assert auc(np.ones(2), np.array([True, True])) is None
    bins = reliability(loss(np.array([1.0, 1.3, 1.3])), np.array([1.0, 1.3, 2.0]), "aab")
    assert [(b.low, b.n) for b in bins] == [(0.0, 1), (20.0, 2)]
    assert bins[1].gap == pytest.approx(100 * (0.5 - 0.3 / 1.3) / 2)
    assert bins[0].error is None, "of one group"
    came = np.tile([1.0, 1.6], 10)
    perfect = metrics(came, loss(came), came)
    assert perfect["mae"] == perfect["calibration.worst"] == 0.0
    assert perfect["auc.loss10"] == 1.0


def test_what_errs_together_says_less_than_as_many_that_err_alone():
    """Six groups of 50 that err alike are six, not 300."""
    rng = np.random.default_rng(4)
    gaps = []
    for _ in range(400):
        off, group = rng.normal(0, 0.04, 6), np.repeat(np.arange(6), 50)
        came = 1 / (1 - (0.35 + off[group]))
        gaps.append(reliability(np.full(300, 0.35), came, group.tolist())[0])
    spread = np.std([b.measured - b.predicted for b in gaps])
    assert np.mean([b.error for b in gaps]) == pytest.approx(spread, rel=0.1)
    alone = reliability(np.full(300, 0.35), came)[0]
    assert alone.error == pytest.approx(100 * np.std(loss(came) - 0.35, ddof=1) / np.sqrt(300))
    assert alone.error < 0.5 * spread


def test_scores_are_judged_by_the_losses_said_and_slowdowns_by_the_slowdowns():
    """A mean loss is not the loss of the mean slowdown: 20 % is said here, slowdowns of 1.25."""
    came, said, lost = np.full(20, 1.0), np.full(20, 1.25), np.full(20, 0.3)
    judged = metrics(said, lost, came)
    assert judged["mae"] == pytest.approx(0.25)
    assert judged["mae.loss"] == pytest.approx(20.0)
    for name in ("bias.loss", "calibration.worst", "calibration.mean"):
        assert judged[name] == pytest.approx(30.0)
    assert metrics(said, np.full(20, 0.1), came)["false_alarms"] == 0.0 < judged["false_alarms"]


def test_physics_traits_learn_what_the_queue_alone_cannot_say():
    co_runs = queued(10)
    errors = {"physics-traits": [], "queue": [], "traits": []}
    for _, train, test in folds(co_runs, Facing.WORKLOAD, 0, 1):
        learn, ask = co_runs.take(train), co_runs.take(test)
        for name, found in errors.items():
            model = models(Facing.WORKLOAD, Scale.SLOWDOWN, co_runs, 1.0)[name]
            said = model.fit(learn, 1).predict(ask.blind()).expected
            found += list(np.abs(said - ask.slowdown))
    mae = {name: np.mean(found) for name, found in errors.items()}
    assert mae["physics-traits"] < 0.5 * mae["queue"]
    assert mae["physics-traits"] < 0.8 * mae["traits"]


def test_a_neighbour_that_wants_nothing_costs_what_such_company_was_seen_to_cost():
    """Whom to ask about was never seen; everybody costs .03 more than the queue says."""
    co_runs = queued(6)
    idle = ("w1", "w3", "w5")

    def calm(names, solo):
        return np.where(np.isin(names, idle)[:, None], [0.0, 0.0, 1.0], solo)

    co_runs = replace(
        co_runs,
        victim_solo=calm(co_runs.victim, co_runs.victim_solo),
        partner_solo=calm(co_runs.partner, co_runs.partner_solo),
    )
    co_runs = replace(co_runs, slowdown=np.exp(1.3 * hazards(co_runs, 1.0) + 0.03))
    model = models(Facing.WORKLOAD, Scale.SLOWDOWN, co_runs, 1.0)["physics-traits"]
    found = []
    for name, train, test in folds(co_runs, Facing.WORKLOAD, 0, 1):
        ask = co_runs.take(test)
        said = model.fit(co_runs.take(train), 1).predict(ask.blind()).expected
        beside_idle = (np.array(ask.partner) == name) & ~np.isin(ask.victim, idle)
        found += list(np.log(said)[beside_idle & (name in idle)])
    assert len(found) == 9
    assert min(found) > 0.02
    assert max(found) < 0.04


@pytest.mark.parametrize("vcpus", [1.0, 2.0])
def test_a_queue_hurts_nobody_who_is_alone_and_more_the_busier_the_other_is(vcpus):
    one = queued(1)
    last = 0.0
    for busy in (0.0, 0.1, 0.4, 0.8, 1.0):
        asked = replace(
            one,
            victim_solo=np.array([[0.3, 0.1, vcpus]]),
            partner_solo=np.array([[busy, 0.0, 1.0]]),
        )
        said = float(hazards(asked, 1.0)[0])
        assert said == 0.0 if busy == 0.0 else said > last
        last = said
    assert last > 0.5


def test_a_copy_hurts_by_its_cores_and_one_never_seen_is_told_so():
    co_runs = known_traits(9)
    is_copy = np.array([v == p for v, p in zip(co_runs.victim, co_runs.partner, strict=True)])
    cores = np.where(is_copy, co_runs.column("partner", "cpu_cores"), 0.0)
    co_runs = replace(co_runs, slowdown=co_runs.slowdown * np.exp(0.006 * cores))
    for facing, n_folds in ((Facing.PAIR, 6), (Facing.WORKLOAD, 0)):
        off = []
        for _, train, test in folds(co_runs, facing, n_folds, seed=1):
            said = (
                TraitsModel(Facing.WORKLOAD).fit(co_runs.take(train), 1).predict(co_runs.take(test))
            )
            off += list((said.expected / co_runs.slowdown[test])[is_copy[test]])
        assert abs(np.mean(np.log(off))) < 0.05


def test_hazards_of_neighbours_add_up_where_only_single_kinds_were_seen():
    rng = np.random.default_rng(2)
    n = 120
    counts = rng.integers(1, 4, (n, 2)).astype(float)
    is_mixed = np.arange(n) % 3 == 0
    counts[np.arange(n) % 3 == 1, 0] = 0.0
    counts[np.arange(n) % 3 == 2, 1] = 0.0
    logs = np.log1p(counts) @ np.array([0.9, 0.4]) + rng.normal(0, 0.02, n)
    co_runs = replace(
        placed(n),
        partner=tuple(f"{a:.0f}+{b:.0f}" for a, b in counts),
        partner_features=("cpu_stressors", "l3_stressors"),
        partner_solo=counts,
        slowdown=np.exp(logs),
    ).without_placement()
    fitted = TraitsModel(Facing.WORKLOAD).fit(co_runs.take(~is_mixed), 1)
    said = np.log(fitted.predict(co_runs.take(is_mixed).blind()).expected)
    assert np.abs(said - logs[is_mixed]).mean() < 0.3


def test_more_neighbours_than_ever_seen_cost_nothing_where_the_two_do_not_meet():
    """One to three were seen, where they meet the victim and where not; there are eight."""
    rng = np.random.default_rng(4)
    n = 60
    counts = np.where(np.arange(n) % 3 == 0, 8, rng.integers(1, 4, n)).astype(float)
    meet = np.arange(n) % 2 == 0
    logs = 0.1 + 0.5 * np.log1p(counts) * meet + rng.normal(0, 0.02, n)
    co_runs = replace(
        placed(n),
        partner=tuple(f"{count:.0f} stressors" for count in counts),
        partner_solo=counts[:, None],
        placement=np.column_stack([meet, ~meet]).astype(float),
        slowdown=np.exp(logs),
    )
    asked = counts == 8
    fitted = TraitsModel(Facing.WORKLOAD).fit(co_runs.take(~asked), 1)
    off = np.log(fitted.predict(co_runs.take(asked).blind()).expected) - logs[asked]
    assert np.abs(off[~meet[asked]]).mean() < 0.06
    assert np.abs(off[meet[asked]]).mean() < 0.45, "of 1.1, far beyond what was seen"
