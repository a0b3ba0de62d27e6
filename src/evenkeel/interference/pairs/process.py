"""A Gaussian process over co-runs whose covariance is sensitivity x pressure x physics.

The log slowdown of a co-run is

    f = base + s(victim) + p(partner) + sum over pools of s_k(victim) p_k(partner) + physics

with s, p and s_k, p_k unknown functions of the solo profile plus an offset of the workload's own.
Integrated out under Gaussian priors this is one kernel (Rasmussen & Williams 2006, ch. 2 and 5):

    K = c + a_v V + (a_p P + a_vp (V o P) + a_l L L') o M,   V = rbf(profile) + o_v [same name], ...

A workload never seen gets s and p from alike profiles; one that has measured pairs gets its own
offset from them, as strongly as they agree: empirical Bayes. M compares where the two run
(all ones where that is not known), L holds what adds up as it is: what both demand of a pool
together, or how many neighbours of each kind there are. Strengths are those most likely a
posteriori, under log-normal priors; found without gradients, so that NumPy alone is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.interference.pairs.base import Arrays

STRENGTHS: Final = {
    "base": 0.75,
    "victim": 0.08,
    "partner": 0.08,
    "both": 0.08,
    "own_victim": 0.3,
    "own_partner": 0.3,
    "demand": 0.1,
    "noise": 0.04,
    "reach_victim": 1.5,
    "reach_partner": 1.5,
    "reach_placement": 1.0,
}
"""Prior medians: variances (shares of the mean square of log slowdown), offsets relative to
theirs, reaches in spreads of the features."""
PRIOR_WIDTH: Final = 0.5
"""Standard deviation of the log of each strength: within a factor of 2.7, most likely."""
NAMES: Final = tuple(STRENGTHS)
MAX_SEARCHED: Final = 250
"""Strengths are found on so many rows at most; all rows are used to predict."""
JITTER: Final = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """N rows: standardised `victim` (N, F), `partner` (N, G), `placement` (N, M), `demand` (N, D).

    `victim_id`, `partner_id` (N,): who it is, -1 for one never seen. `weight` (N,): how much of
    the victim's time the two are together; it multiplies f.
    """

    victim: F64
    partner: F64
    placement: F64
    demand: F64
    victim_id: Ints
    partner_id: Ints
    weight: F64

    def take(self, which: Ints) -> Inputs:
        return Inputs(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class _Between:
    """What the kernel needs of two sets of rows, whatever the strengths: (N, K) each."""

    victim: F64
    partner: F64
    placement: F64
    demand: F64
    same_victim: F64
    same_partner: F64
    weight: F64

    @classmethod
    def of(cls, a: Inputs, b: Inputs) -> _Between:
        n_demands = max(a.demand.shape[1], 1)
        return cls(
            _distance(a.victim, b.victim),
            _distance(a.partner, b.partner),
            _distance(a.placement, b.placement),
            a.demand @ b.demand.T / n_demands,
            _same(a.victim_id, b.victim_id),
            _same(a.partner_id, b.partner_id),
            a.weight[:, None] * b.weight[None, :],
        )

    def kernel(self, theta: F64) -> F64:
        at = dict(zip(NAMES, np.exp(theta), strict=True))
        own_v, own_p = at["own_victim"] * self.same_victim, at["own_partner"] * self.same_partner
        victim = np.exp(-0.5 * self.victim / at["reach_victim"] ** 2) + own_v
        partner = np.exp(-0.5 * self.partner / at["reach_partner"] ** 2) + own_p
        placed = np.exp(-0.5 * self.placement / at["reach_placement"] ** 2)
        total = at["base"] + at["victim"] * victim + at["partner"] * partner * placed
        total += (at["both"] * victim * partner + at["demand"] * self.demand) * placed
        return np.asarray(total * self.weight)


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A fitted process: rows learnt from, the `theta` of its kernel (log strengths), `answers`."""

    rows: Inputs
    theta: F64
    answers: F64
    """(N,) inverse covariance times log slowdown over `scale`."""
    scale: float
    """Root mean square of the log slowdowns learnt from."""

    @classmethod
    def fit(cls, rows: Inputs, log_slowdown: F64, seed: int) -> Process:
        n = len(log_slowdown)
        scale = max(float(np.sqrt((log_slowdown**2).mean())), 1e-3)
        which = np.arange(n)
        if n > MAX_SEARCHED:
            which = np.sort(np.random.default_rng(seed).choice(n, MAX_SEARCHED, replace=False))
        some, some_y = rows.take(which), log_slowdown[which] / scale
        between = _Between.of(some, some)
        prior = np.log(np.array(list(STRENGTHS.values())))

        def unlikely(theta: F64) -> float:
            held = 0.5 * float((((theta - prior) / PRIOR_WIDTH) ** 2).sum())
            return held + _surprise(_noisy(between.kernel(theta), theta), some_y)

        return cls(rows, minimum(unlikely, prior), np.empty(0), scale).given(rows, log_slowdown)

    def given(self, rows: Inputs, log_slowdown: F64) -> Process:
        """The same strengths, and these rows to answer from."""
        covariance = self._covariance(rows)
        answers = np.linalg.solve(covariance, log_slowdown / self.scale)
        return Process(rows, self.theta, np.asarray(answers, dtype=np.float64), self.scale)

    def predict(self, rows: Inputs) -> tuple[F64, F64]:
        """(N,) mean and variance of the log slowdown of a new measurement."""
        cross = _Between.of(rows, self.rows).kernel(self.theta)
        mean = cross @ self.answers
        covariance = self._covariance(self.rows)
        explained = np.einsum("ij,ji->i", cross, np.linalg.solve(covariance, cross.T))
        noise = float(np.exp(self.theta[NAMES.index("noise")]))
        variance = np.maximum(self._own(rows) - explained, 0.0) + noise
        return np.asarray(mean * self.scale), np.asarray(variance * self.scale**2)

    def left_out(self, groups: Sequence[Ints]) -> tuple[F64, F64]:
        """What `predict` would say of each group of the rows learnt from, had it not been there,
        group after group; strengths stay (Rasmussen & Williams 2006, eq. 5.12, for groups).
        """
        covariance = self._covariance(self.rows)
        precision, came = np.linalg.inv(covariance), covariance @ self.answers
        means, variances = [np.empty(0)], [np.empty(0)]
        for group in groups:
            own = np.linalg.inv(precision[np.ix_(group, group)])
            means.append(came[group] - own @ self.answers[group])
            variances.append(np.diag(own))
        return np.concatenate(means) * self.scale, np.concatenate(variances) * self.scale**2

    def save(self) -> Arrays:
        rows = {f"rows.{field.name}": getattr(self.rows, field.name) for field in fields(Inputs)}
        return rows | {"theta": self.theta, "answers": self.answers, "scale": np.array(self.scale)}

    @classmethod
    def load(cls, arrays: Arrays) -> Process:
        """Raises KeyError for a part that is not there."""
        rows = Inputs(*(arrays[f"rows.{field.name}"] for field in fields(Inputs)))
        return cls(rows, arrays["theta"], arrays["answers"], float(arrays["scale"]))

    def _covariance(self, rows: Inputs) -> F64:
        """(N, N) of measurements of `rows`."""
        return _noisy(_Between.of(rows, rows).kernel(self.theta), self.theta)

    def _own(self, rows: Inputs) -> F64:
        """(N,) prior variance of each row; one never seen counts as one of its own."""
        at = dict(zip(NAMES, np.exp(self.theta), strict=True))
        victim, partner = 1 + at["own_victim"], 1 + at["own_partner"]
        level = at["base"] + at["victim"] * victim + at["partner"] * partner
        level += at["both"] * victim * partner
        demand = (rows.demand**2).sum(axis=1) / max(rows.demand.shape[1], 1)
        return np.asarray((level + at["demand"] * demand) * rows.weight**2)


def minimum(cost: Callable[[F64], float], start: F64, step: float = 0.6) -> F64:
    """Where `cost` is low, by moves along one axis at a time that shrink when none helps."""
    at, lowest = start.copy(), cost(start)
    steps = np.full(len(start), step)
    for _ in range(12):
        for i in range(len(at)):
            for sign in (1.0, -1.0):
                there = at.copy()
                there[i] += sign * steps[i]
                found = cost(there)
                if found < lowest:
                    at, lowest = there, found
                    steps[i] *= sign * 1.3  # go on that way first
                    break
            else:
                steps[i] *= 0.5
        if np.abs(steps).max() < 0.08:
            break
    return at


def _noisy(kernel: F64, theta: F64) -> F64:
    noise = float(np.exp(theta[NAMES.index("noise")]))
    return np.asarray(kernel + (noise + JITTER) * np.eye(len(kernel)))


def _surprise(covariance: F64, values: F64) -> float:
    """Negative log likelihood of `values`, less what does not depend on the strengths."""
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return np.inf
    white = np.linalg.solve(root, values)
    return 0.5 * float(white @ white) + float(np.log(np.diag(root)).sum())


def _distance(a: F64, b: F64) -> F64:
    """(N, K) mean squared difference over features; 0 without any."""
    if a.shape[1] == 0:
        return np.zeros((len(a), len(b)))
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(square, 0.0) / a.shape[1])


def _same(a: Ints, b: Ints) -> F64:
    return np.asarray((a[:, None] == b[None, :]) & (a >= 0)[:, None], dtype=np.float64)
