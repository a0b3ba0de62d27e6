"""Ways to cut co-runs so that what is tested was not seen: inside training, and for the judge.

Both directions and all repeats of a pair are always on one side.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.domain.corun import CoRuns
from evenkeel.interference.pairs.base import Facing

Fold = tuple[str, Bools, Bools]
"""What is left out, rows to learn from (N,), rows to test (N,)."""


def folds(co_runs: CoRuns, facing: Facing, n_folds: int, seed: int) -> list[Fold]:
    """Cuts of `co_runs`, as `facing` says; none when there is nothing to leave out.

    Workloads: each is left out once, as victim and as partner; the test is all its pairs. Where
    victims and partners are different things, partners are left out. Pairs and campaigns: in
    `n_folds` groups by `seed`, or each by itself (0); every group of pairs has about as
    many of one workload as of another, so that none is left out with all that was known of it.
    """
    if facing is Facing.WORKLOAD:
        return _workloads(co_runs, n_folds, seed)
    if facing is Facing.PAIR:
        return _pairs(co_runs, n_folds, seed)
    return _groups(co_runs.campaign, n_folds, seed, "campaigns")


def apart(co_runs: CoRuns, facing: Facing) -> list[Ints]:
    """Rows of each workload, pair or campaign by itself; a workload's are of both its sides."""
    return [np.flatnonzero(test) for _, _, test in folds(co_runs, facing, 0, seed=0)]


def unseen(train: CoRuns, test: CoRuns, facing: Facing) -> Bools:
    """(N,) rows of `test` that have what `train` has not."""
    if facing is Facing.PAIR:
        known = set(train.pair)
        return np.array([pair not in known for pair in test.pair], dtype=bool)
    if facing is Facing.CAMPAIGN:
        campaigns = set(train.campaign)
        return np.array([name not in campaigns for name in test.campaign], dtype=bool)
    names = {*train.victim, *train.partner}
    pairs = zip(test.victim, test.partner, strict=True)
    return np.array([v not in names or p not in names for v, p in pairs], dtype=bool)


def _workloads(co_runs: CoRuns, n_folds: int, seed: int) -> list[Fold]:
    victim, partner = np.array(co_runs.victim), np.array(co_runs.partner)
    names = sorted(set(co_runs.partner))
    if n_folds and len(names) > n_folds:
        order = np.random.default_rng(seed).permutation(len(names))
        names = [names[i] for i in sorted(order[:n_folds])]
    out = []
    for name in names:
        test = (victim == name) | (partner == name)
        if not test.all():
            out.append((name, ~test, test))
    return out


def _pairs(co_runs: CoRuns, n_folds: int, seed: int) -> list[Fold]:
    """Each workload has a number by `seed`; a pair's group is the sum of both numbers, modulo how
    many there are: a symmetric Latin square.
    """
    names = sorted({*co_runs.victim, *co_runs.partner})
    number = dict(zip(names, np.random.default_rng(seed).permutation(len(names)), strict=True))
    group = np.array([number[one] + number[other] for one, other in co_runs.pair])
    at = group % max(n_folds, 1)
    if n_folds >= len(set(co_runs.pair)) or len(np.unique(at)) < 2:
        return _groups(co_runs.pair, n_folds, seed, "pairs")
    return [(f"pairs {k + 1}", at != k, at == k) for k in np.unique(at).tolist()]


def _groups(keys: Sequence[Hashable], n_folds: int, seed: int, what: str) -> list[Fold]:
    distinct = sorted(set(keys), key=str)
    n_folds = min(n_folds or len(distinct), len(distinct))
    if n_folds < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {distinct[i]: rank % n_folds for rank, i in enumerate(order)}
    at = np.array([fold_of[key] for key in keys])
    single = n_folds == len(distinct)
    names = {fold_of[k]: str(k) for k in distinct} if single else {}
    return [(names.get(k, f"{what} {k + 1}"), at != k, at == k) for k in range(n_folds)]
