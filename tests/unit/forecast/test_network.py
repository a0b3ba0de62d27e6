"""Training a network on rows whose number differs from epoch to epoch."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.forecast.base import Targets
from evenkeel.forecast.network.serve import Session
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.network.train import train
from evenkeel.forecast.rows import Rows, draw, least_scale
from panels import fleet


@pytest.mark.parametrize("wanted", [(96, 480, 480), (480, 96, 96)], ids=["more", "fewer"])
def test_epochs_with_more_or_fewer_rows_than_the_first(wanted: tuple[int, ...]) -> None:
    """Rows without a truth are dropped, so an epoch may have a batch more than the first one."""
    panel, targets = fleet(), Targets((1, 6))
    rng = np.random.default_rng(1)
    drawn: list[int] = []

    def rows(epoch: int) -> Rows:
        found = draw([panel], targets, least_scale([panel]), wanted[epoch], rng)
        drawn.append(len(found.truth))
        return found

    training = Training(epochs=3, batch=48, hidden=16)
    told: list[float] = []
    model = train(rows, training, False, 1, told.append)
    assert len(set(drawn)) > 1
    assert told[-1] == 1.0
    asked = draw([panel], targets, least_scale([panel]), 48, rng).features
    assert np.isfinite(Session(model).run(asked)).all()
