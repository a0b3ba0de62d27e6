"""`auto` learns from any history in which something is known, and says so where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.panel import Panel
from evenkeel.forecast.auto import AutoForecaster, Learner
from evenkeel.forecast.base import Targets
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import NothingKnown, apart, draw
from evenkeel.forecast.workers import Report
from panels import panel

BRIEF = Training(epochs=2, rows_per_epoch=300, hidden=16, batch=32)
TARGETS = Targets((1, 72), (12,))
VALUES = np.random.default_rng(0).gamma(2, 1, (12, 400)).astype("f4")
AT = np.arange(400)
GAPS = np.random.default_rng(1).random((12, 400)) < 0.97
ODD = {
    "one VM": [panel(VALUES[:1])],
    "a VM, 13 slots": [panel(VALUES[:1, :13])],
    "13 slots": [panel(VALUES[:, :13])],
    "always 0": [panel(VALUES * 0)],
    "always the same": [panel(VALUES * 0 + 3)],
    "every other VM off": [panel(np.where(np.arange(12)[:, None] % 2, VALUES, np.nan))],
    "off since the middle": [panel(np.where(AT > 200, np.nan, VALUES))],
    "known for the last ten slots": [panel(np.where(AT < 390, np.nan, VALUES))],
    "three samples in a hundred": [panel(np.where(GAPS, np.nan, VALUES))],
    "one hole for all": [panel(np.where((AT > 20) & (AT < 380), np.nan, VALUES))],
    "nobody, then twelve": [panel(VALUES[:0]), panel(VALUES)],
    "scales of all sizes": [panel(VALUES * 10.0 ** np.arange(-6, 6)[:, None])],
    "always held back": [panel(VALUES, censored=np.ones((12, 400), dtype=bool))],
}
NOTHING = {
    "12 slots": [panel(VALUES[:, :12])],
    "nothing known": [panel(VALUES * np.nan)],
    "nothing known after the first hour": [panel(np.where(AT >= 12, np.nan, VALUES))],
    "no VM": [panel(VALUES[:0])],
    "no panel": [],
}


def brief(report: Report) -> tuple[Learner, ...]:
    return (NetworkForecaster(recurrent=True, training=BRIEF, report=report),)


@pytest.mark.parametrize("panels", ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("error")
def test_learns_from_what_there_is(panels: list[Panel]) -> None:
    fitted = AutoForecaster(brief, judged_rows=200).fit(panels, TARGETS, seed=1)
    said = fitted.predict(panels[-1], TARGETS)
    for quantiles in (said.values, said.peaks):
        assert np.isfinite(quantiles).all()
        assert (quantiles >= 0).all()
        assert (np.diff(quantiles, axis=-1) >= 0).all()
    for name in fitted.models:
        raw = fitted.models[name].predict(panels[-1], TARGETS)
        assert np.isfinite(raw.values).all(), "also where it does not serve"


@pytest.mark.parametrize("panels", NOTHING.values(), ids=NOTHING)
def test_says_that_there_is_nothing(panels: list[Panel]) -> None:
    with pytest.raises(NothingKnown, match="nothing to learn from"):
        AutoForecaster(brief, judged_rows=200).fit(panels, TARGETS, seed=1)


def test_no_origin_lies_before_a_hole_of_all() -> None:
    """Each drawing gives its rows, however little of the time is known."""
    holed = [panel(np.where((AT > 20) & (AT < 390), np.nan, VALUES))]
    for seed in range(20):
        rows = draw(holed, Targets((1,)), 0.1, 60, np.random.default_rng(seed))
        assert len(rows.truth) == 5 * 12
        assert np.isfinite(rows.truth).all()


def test_vms_apart_of_which_nothing_is_known_leave_the_choice_unmeasured() -> None:
    whole = panel(VALUES)
    (is_apart,) = apart([whole], 1)
    assert 0 < is_apart.sum() < len(is_apart)
    holed = panel(np.where(is_apart[:, None], np.nan, VALUES))
    fitted = AutoForecaster(brief).fit([holed], Targets((1,)), seed=1)
    assert set(fitted.models) == {"recurrent"}
