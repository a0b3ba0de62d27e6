"""Every model of pairs keeps the contract of `interference/pairs/base.py`."""

from __future__ import annotations

import numpy as np
import pytest
from coruns import known_traits, placed, queued, shuffled_truth

from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.interference.pairs.base import LEAST, MOST, Facing, PairModel, Scale
from evenkeel.interference.pairs.catalogue import models

SEED = 7
CASES = {
    "pairs": (known_traits(5), Facing.PAIR, Scale.SLOWDOWN, None),
    "placed": (placed(40), Facing.CAMPAIGN, Scale.LOG, None),
    "queued": (queued(6), Facing.WORKLOAD, Scale.SLOWDOWN, 1.0),
}
PHYSICAL = ("physics-traits", "queue")
NAMES = [
    (case, name)
    for case, (c, f, s, cores) in CASES.items()
    for name in models(f, s, c, cores)
    if (name in PHYSICAL) == (case == "queued")
]


@pytest.fixture(scope="module", params=NAMES, ids="/".join)
def case(request):
    kind, name = request.param
    co_runs, facing, scale, cores = CASES[kind]
    model = models(facing, scale, co_runs, cores)[name]
    learn = np.arange(co_runs.n) % 4 != 0
    return model, co_runs.take(learn), co_runs.take(~learn)


@pytest.fixture(scope="module")
def fitted(case: tuple[PairModel, CoRuns, CoRuns]):
    model, learn, _ = case
    return model.fit(learn, SEED)


def test_says_something_sane_for_all(case, fitted):
    _, _, ask = case
    said = fitted.predict(ask.blind())
    assert said.expected.shape == said.spread.shape == (ask.n,)
    assert ((said.expected >= LEAST) & (said.expected <= MOST)).all()
    assert (np.isnan(said.spread) | (said.spread > 0)).all()
    assert ((said.lost >= 0) & (said.lost <= 1)).all()


def test_the_truth_of_what_is_asked_is_not_looked_at(case, fitted):
    _, _, ask = case
    blind = fitted.predict(ask.blind()).expected
    np.testing.assert_array_equal(blind, fitted.predict(shuffled_truth(ask)).expected)


def test_a_row_alone_is_answered_as_among_others(case, fitted):
    _, _, ask = case
    together = fitted.predict(ask.blind()).expected
    alone = [fitted.predict(ask.blind().take(np.array([i]))).expected[0] for i in range(5)]
    np.testing.assert_allclose(alone, together[:5], rtol=1e-9)


def test_same_seed_same_bytes_and_saved_as_fitted(case, fitted):
    model, learn, ask = case
    blob = fitted.save()
    assert model.fit(learn, SEED).save() == blob
    again = model.load(blob)
    assert again.save() == blob
    for name in ("expected", "spread", "lost"):
        np.testing.assert_array_equal(
            getattr(again.predict(ask.blind()), name), getattr(fitted.predict(ask.blind()), name)
        )


def test_damage_and_other_models_are_refused(case, fitted):
    model, _, _ = case
    blob = fitted.save()
    for bad in (b"", blob[: len(blob) // 2], b"x" * 100):
        with pytest.raises(ModelCorrupt):
            model.load(bad)
    from evenkeel.domain.bundle import from_text, pack

    for made_by in ("another/1", f"{model.name}/99"):
        with pytest.raises(ModelCorrupt, match="saved by"):
            model.load(pack(made_by=from_text(made_by)))
    with pytest.raises(ModelCorrupt):
        model.load(pack(made_by=from_text(f"{model.name}/1")))


def test_nothing_to_learn_from(case):
    model, learn, _ = case
    with pytest.raises(ValueError, match="no co-run"):
        model.fit(learn.blind(), SEED)


def test_unknown_features_and_workloads_are_answered(case, fitted):
    from dataclasses import replace

    _, _, ask = case
    holes = replace(
        ask,
        victim=("never seen",) * ask.n,
        victim_solo=np.full_like(ask.victim_solo, np.nan),
        placement=np.full_like(ask.placement, np.nan),
        cpi_rise=np.full(ask.n, np.nan),
    )
    assert np.isfinite(fitted.predict(holes.blind()).expected).all()
