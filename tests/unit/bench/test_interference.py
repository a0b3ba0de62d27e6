"""What an evaluation of pair models tells: every figure of a score is of the losses said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coruns import fairco2_rows, known_traits, write_csv

from evenkeel.bench import interference
from evenkeel.bench.interference import Question, evaluate
from evenkeel.interference.pairs.base import Said
from evenkeel.interference.pairs.catalogue import OURS, models


def test_scores_are_losses_that_know_how_unsure_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        interference,
        "models",
        lambda *of: {name: m for name, m in models(*of).items() if name in (OURS, "effects")},
    )
    files = (write_csv(tmp_path / "pairs.csv", fairco2_rows(known_traits(4))),)
    told = evaluate(Question("fairco2", files, files, "unseen-pair", 4, 1))
    said, came = told.said[OURS], 1 - 1 / told.asked.slowdown
    assert np.isfinite(said.spread).all(), "of every fold"
    bias = 100 * (said.lost - came).mean()
    assert told.result().metrics["bias.loss"] == pytest.approx(bias, abs=1e-6)
    assert abs(bias - 100 * (1 - 1 / said.expected - came).mean()) > 0.001, "it makes a difference"

    unsure = Said.of(said.expected, said.expected)
    found = replace(told, said=told.said | {OURS: unsure}).result()
    rows, bins = found.detail["co_runs"], found.detail["calibration"]
    np.testing.assert_allclose([row["predicted"] for row in rows], said.expected)
    np.testing.assert_allclose([row["predicted_loss"] for row in rows], unsure.lost)
    score = sum(b["n"] * b["predicted"] for b in bins) / told.asked.n
    assert score == pytest.approx(100 * unsure.lost.mean())
    assert abs(score - 100 * (1 - 1 / said.expected).mean()) > 1.0, "it makes a difference"
