"""What models of pairs say in losses, and that scores come true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from coruns import known_traits, queued

from evenkeel.interference.pairs.base import Facing, Said, Scale, loss, mean_loss
from evenkeel.interference.pairs.catalogue import models
from evenkeel.interference.pairs.folds import folds
from evenkeel.interference.pairs.process import Inputs, Process
from evenkeel.interference.pairs.score import AS_SAID, SAID, Calibration


def test_what_is_said_in_parts_is_said_in_order():
    parts = [
        Said.of(np.array([1.0, 2.0]), np.array([0.1, np.nan])),
        Said.of(np.ones(1), np.zeros(1)),
    ]
    whole = Said.joined(parts)
    np.testing.assert_array_equal(whole.expected, [1.0, 2.0, 1.0])
    np.testing.assert_array_equal(whole.spread, [0.1, np.nan, 0.0])
    np.testing.assert_array_equal(whole.lost, [*parts[0].lost, 0.0])


def test_mean_loss_is_that_of_the_spread_and_of_the_slowdown_where_none_is_known():
    middle, spread = np.array([1.0, 1.1, 2.0, 8.0]), np.array([0.3, 0.05, 0.8, 6.0])
    rng = np.random.default_rng(1)
    for m, s, said in zip(middle, spread, mean_loss(middle, spread), strict=True):
        drawn = np.exp(rng.normal(np.log(m), s / m, 200_000))
        assert said == pytest.approx(loss(drawn).mean(), abs=0.003)
    for unknown in (np.full(4, np.nan), np.zeros(4)):
        np.testing.assert_allclose(mean_loss(middle, unknown), loss(middle))
    np.testing.assert_array_equal(Said.of(middle, spread).lost, mean_loss(middle, spread))


def test_what_a_process_says_of_rows_left_out_is_what_it_would_say_without_them():
    rng = np.random.default_rng(5)
    n, who = 30, np.repeat(np.arange(6), 5)
    rows = Inputs(
        victim=rng.normal(size=(n, 2)),
        partner=rng.normal(size=(n, 2)),
        placement=np.empty((n, 0)),
        demand=rng.normal(size=(n, 1)),
        victim_id=who,
        partner_id=rng.permutation(who),
        weight=rng.uniform(0.5, 1.0, n),
    )
    came = rng.normal(0.4, 0.2, n)
    whole = Process.fit(rows, came, seed=1)
    groups = [np.flatnonzero(who == i) for i in range(6)] + [np.array([0, 29])]
    mean, variance = whole.left_out(groups)
    at = 0
    for group in groups:
        kept = np.setdiff1d(np.arange(n), group)
        told = whole.given(rows.take(kept), came[kept])
        expected = told.predict(rows.take(group))
        np.testing.assert_allclose(mean[at : at + len(group)], expected[0], rtol=1e-6)
        np.testing.assert_allclose(variance[at : at + len(group)], expected[1], rtol=1e-3)
        at += len(group)
    assert at == len(mean)
    assert [len(part) for part in whole.left_out([])] == [0, 0]


def test_scores_are_moved_to_what_came_where_alike_ones_were_said():
    rng = np.random.default_rng(2)
    said = rng.uniform(0, 0.8, 4000)
    came = np.clip(said + np.where(said > 0.5, -0.1, 0.0) + rng.normal(0, 0.05, 4000), 0, 1)
    scores = Calibration.learn(said, came)
    asked = Said.of(1 / (1 - np.array([0.2, 0.3, 0.65, 0.7])))
    np.testing.assert_allclose(scores(asked).lost, [0.2, 0.3, 0.55, 0.6], atol=0.01)
    np.testing.assert_array_equal(scores(asked).expected, asked.expected)
    far = Said.of(np.array([50.0]))
    np.testing.assert_allclose(scores(far).lost, far.lost, atol=0.001)


def test_a_few_co_runs_move_a_score_a_little():
    scores = Calibration.learn(np.full(5, 0.4), np.full(5, 0.9))
    assert scores(Said.of(np.array([1 / 0.6]))).lost[0] == pytest.approx(
        0.4 + 0.5 * 5 / (5 + AS_SAID)
    )
    np.testing.assert_array_equal(Calibration.learn(np.empty(0), np.empty(0)).comes, SAID)


def test_a_higher_loss_never_gets_a_lower_score():
    said = np.concatenate([np.full(300, 0.4), np.full(300, 0.45)])
    scores = Calibration.learn(said, np.concatenate([np.full(300, 0.9), np.zeros(300)]))
    assert (np.diff(scores.comes) >= 0).all()
    assert ((scores.comes >= 0) & (scores.comes <= 1)).all()


def test_scores_learn_from_each_left_out_by_itself():
    co_runs = known_traits(8)
    groups = [np.flatnonzero(test) for _, _, test in folds(co_runs, Facing.WORKLOAD, 0, 1)]
    asked: list[list[int]] = []

    def say(which) -> Said:
        asked.extend(group.tolist() for group in which)
        return Said.of(np.full(sum(map(len, which)), 1.5))

    scores = Calibration.of(co_runs, Facing.WORKLOAD, say)
    assert asked == [group.tolist() for group in groups]
    came = loss(co_runs.slowdown[np.concatenate(groups)])
    expected = Calibration.learn(np.full(len(came), 1 / 3), came)
    np.testing.assert_allclose(scores.comes, expected.comes)


@pytest.mark.parametrize("facing", [Facing.WORKLOAD, Facing.PAIR])
@pytest.mark.parametrize("name", ["traits", "physics-traits"])
def test_models_calibrate_their_scores_by_what_they_say_of_what_they_have_not_seen(name, facing):
    co_runs, cores = (known_traits(6), None) if name == "traits" else (queued(6), 1.0)
    fitted = models(facing, Scale.SLOWDOWN, co_runs, cores)[name].fit(co_runs, 1)
    as_spread_says = replace(fitted, scores=Calibration(SAID))
    said, plain = fitted.predict(co_runs.blind()), as_spread_says.predict(co_runs.blind())
    np.testing.assert_array_equal(said.expected, plain.expected)
    np.testing.assert_allclose(said.lost, np.interp(plain.lost, SAID, fitted.scores.comes))

    lost, came = [], []
    for _, train, test in folds(co_runs, facing, 0, 1):
        learn, at = co_runs.take(train), np.flatnonzero(train)

        def without(process: Process, at=at, learn=learn) -> Process:
            return process.given(process.rows.take(at), np.log(learn.slowdown))

        if name == "traits":
            members = (replace(m, process=without(m.process)) for m in fitted.members)
            blind = replace(as_spread_says, members=tuple(members))
        else:
            blind = replace(as_spread_says, process=without(fitted.process))
        lost.append(blind.predict(co_runs.take(test).blind()).lost)
        came.append(loss(co_runs.slowdown[test]))
    expected = Calibration.learn(np.concatenate(lost), np.concatenate(came))
    np.testing.assert_allclose(fitted.scores.comes, expected.comes, atol=1e-6)
    assert np.abs(fitted.scores.comes - SAID).max() > 5e-4, "it makes a difference"
