"""Judges models of pairs on triples: is the worse neighbour named first, do hazards add up?

A model says what each of two partners does to a victim; hazards (log slowdowns) add. Which partner
is the worse one is known from the pairs that were measured. Partners whose measured losses differ
by less than `TIE` are no question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.lab_matrix import LabMatrix, read_lab_matrix
from evenkeel.domain.arrays import Ints
from evenkeel.interference.pairs.base import FittedPairModel, loss

TIE: Final = 0.02
FittedFold = tuple[str, FittedPairModel]
"""The workload that a model has not seen, and the model; "" where the test is another file."""


def judge_triples(paths: Sequence[Path], fits: Sequence[FittedFold]) -> dict[str, float]:
    """`culprit_first` (share), `triples.mae.loss` and `triples.bias.loss` in points, over each
    victim in each triple by each model that has not seen one of the three; {} without any."""
    matrix = read_lab_matrix(paths)
    effect = _effects(matrix)
    firsts: list[bool] = []
    errors: list[float] = []
    for name, fitted in fits:
        rows = _rows(matrix, name)
        if not len(rows):
            continue
        one, two = matrix.beside_first.take(rows), matrix.beside_second.take(rows)
        said = [np.log(fitted.predict(side.blind()).expected) for side in (one, two)]
        errors += list(100 * (loss(np.exp(said[0] + said[1])) - loss(one.slowdown)))
        for i in range(one.n):
            true = [effect.get((one.victim[i], side.partner[i])) for side in (one, two)]
            if true[0] is None or true[1] is None or abs(true[0] - true[1]) < TIE:
                continue
            gap = said[0][i] - said[1][i]
            firsts.append(bool(gap * (true[0] - true[1]) > 0))
    if not errors:
        return {}
    out = {
        "triples.mae.loss": float(np.abs(errors).mean()),
        "triples.bias.loss": float(np.mean(errors)),
    }
    if firsts:
        out["culprit_first"] = float(np.mean(firsts))
        out["culprit_first.n"] = float(len(firsts))
    return out


def _rows(matrix: LabMatrix, name: str) -> Ints:
    """Triples of which `name` is one; all where it is empty."""
    one, two = matrix.beside_first, matrix.beside_second
    members = zip(one.victim, one.partner, two.partner, strict=True)
    return np.flatnonzero([not name or name in three for three in members])


def _effects(matrix: LabMatrix) -> dict[tuple[str, str], float]:
    """Measured mean loss of every victim beside every partner alone."""
    found: dict[tuple[str, str], list[float]] = {}
    pairs = matrix.pairs
    for key, lost in zip(
        zip(pairs.victim, pairs.partner, strict=True), loss(pairs.slowdown), strict=True
    ):
        found.setdefault(key, []).append(float(lost))
    return {key: float(np.mean(values)) for key, values in found.items()}
