"""The contest, and what a validation makes expect of the hours that come."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.panels import fleet

from evenkeel.domain.panel import Calendar, Panel
from evenkeel.forecast.base import Targets
from evenkeel.forecast.contest import hold
from evenkeel.forecast.drift import PromotionReason
from evenkeel.forecast.empirical import Empirical, FittedEmpirical
from evenkeel.forecast.validation import (
    N_KINDS,
    Outcome,
    compare,
    kind_of_hour,
    usual_losses,
    validate,
    watched,
)

TARGETS = Targets((1, 3, 12))
HOUR = 12


def off(factor: float) -> FittedEmpirical:
    """Forecasts `factor` times what it should."""

    class Off(FittedEmpirical):
        def predict(self, panel, targets):
            said = FittedEmpirical().predict(panel, targets)
            return replace(said, values=said.values * np.float32(factor))

    return Off()


class Counting(Empirical):
    fits: list[int] = []  # noqa: RUF012

    def fit(self, panels, targets, seed):
        self.fits.append(sum(panel.n_slots for panel in panels))
        return super().fit(panels, targets, seed)


def test_a_winner_learns_the_judged_quarter_too() -> None:
    panel = fleet(24, n_slots=1152)
    Counting.fits.clear()
    found = hold(Counting(), off(1.5), panel, TARGETS, 1)
    assert found.verdict.promote
    assert found.ours.wql < found.theirs.wql
    assert Counting.fits == [864, 1152]
    assert found.learnt_until == 1152


def test_a_loser_is_kept_as_it_was_judged() -> None:
    panel = fleet(24, n_slots=1152)
    Counting.fits.clear()
    found = hold(Counting(), FittedEmpirical(), panel, TARGETS, 1)
    assert found.verdict.reason is PromotionReason.NOISE
    assert Counting.fits == [864]
    assert found.learnt_until == 864
    few = hold(Empirical(), off(1.5), fleet(8, n_slots=1152), TARGETS, 1)
    assert few.verdict.reason is PromotionReason.TOO_FEW
    with pytest.raises(ValueError, match="too few to validate"):
        hold(Empirical(), off(1.5), fleet(24, n_slots=20), TARGETS, 1)


def outcomes(fitted: FittedEmpirical, panel: Panel, first: int, last: int) -> list[Outcome]:
    horizons = watched(TARGETS, panel.step_s)
    found = []
    for origin in range(first, last, HOUR):
        said = fitted.predict(panel.until(origin), Targets(horizons)).values
        came = panel.values[:, [origin + h - 1 for h in horizons]]
        kind = kind_of_hour(panel.start_s + origin * panel.step_s, panel.calendar)
        found.append(Outcome.of(kind, said, came))
    return found


def test_what_a_validation_expects_is_what_it_saw() -> None:
    panel, fitted = fleet(30, n_slots=5 * 288), FittedEmpirical()
    validation = validate(fitted, panel, TARGETS, 288)
    assert validation.horizons_s == (300.0, 3600.0)
    assert usual_losses(validation).shape == (30, N_KINDS)
    seen = outcomes(fitted, panel, 288, 5 * 288 - 12 + 1)
    same = compare(validation, seen)
    np.testing.assert_allclose(same.recent_loss, same.validation_loss, rtol=1e-5)
    np.testing.assert_allclose(
        same.recent_coverage.mean(axis=0), same.validation_coverage.mean(axis=0), atol=1e-3
    )
    worse = compare(validation, outcomes(off(1.5), panel, 4 * 288, 5 * 288 - 12))
    assert (worse.recent_loss > worse.validation_loss).mean() > 0.9


def test_hours_of_an_unknown_kind_are_left_out() -> None:
    panel, fitted = fleet(30, n_slots=3 * 288), FittedEmpirical()  # Thursday to Saturday
    validation = validate(fitted, panel.until(2 * 288), TARGETS, 288)
    found = compare(validation, outcomes(fitted, panel, 2 * 288, 2 * 288 + 12 * 12))
    assert np.isnan(found.recent_loss).all()


def test_many_vms_are_followed_by_a_few_hundred() -> None:
    validation = validate(FittedEmpirical(), fleet(2000, n_slots=40), Targets((1,)), 28)
    assert 200 < len(validation.ids) < 400


def test_kinds_of_hours_are_local_and_know_holidays() -> None:
    thursday_s = fleet(1, 2).start_s
    assert kind_of_hour(thursday_s, Calendar()) == 0
    assert kind_of_hour(thursday_s + 2 * 86_400, Calendar()) == 24
    assert kind_of_hour(thursday_s, Calendar("Europe/Berlin")) == 2
    assert kind_of_hour(thursday_s, Calendar("UTC", frozenset([date(2013, 8, 1)]))) == 24
