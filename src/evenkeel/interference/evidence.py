"""Evidence: measured loss, split over whoever can have caused it, and how sure that is.

Per victim the hazard (-log(1 - loss)) measured in each row is taken as the sum of what physics says
each suspect does to it (`counterfactual`: the world as it is, less the world without what the
suspect presses with), each times an unknown factor near 1, plus a little that nobody explains:

    h[t] = sum_j k_j effect_j[t] + u + noise,    k_j ~ N(1, sigma^2),  u ~ N(0, ...)

Its posterior is exact (a Kalman filter over rows, Murphy 2012, 7.6). The measured loss is split by
the posterior means; the probability that j did most is the product of the pairwise probabilities
that it did more than each other suspect, than nothing at all, and than what nobody explains.

Properties (tests): parts add up to the measured loss; who is idle or shares no pool with the
victim has effect 0, so part 0 and probability 0, however well its load correlates; twins get the
same; everything is continuous in what was measured. Who did the same at the same times cannot be
told apart, and the probability says so: it is calibrated on staged collisions (note 0015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.interference.attribution import Pressing
from evenkeel.interference.counterfactual import MOST_TELLABLE, SharedCores, effects
from evenkeel.interference.hazards import hazard

MAX_ROWS: Final = 8
MAX_SUSPECTS: Final = 5
MAX_VICTIMS: Final = 3
"""Worst-off victims for which worlds are solved anew; for others the blame of attribution.py."""
MIN_LOSS: Final = 0.01
SPREAD: Final = 0.5
"""Of the factor between physics and the truth; 0.6 measured on guests (note 0002) is its worst."""
SPREAD_WITHOUT_NORM: Final = 0.8
SPREAD_OF_UNEXPLAINED: Final = 0.02
NOISE: Final = 0.05
NOISE_SHARE: Final = 0.25
"""Noise of a row, in hazard: a floor, and a share of the hazard itself. Rows err together, so this
is more than their scatter."""
TELLING: Final = 0.02
"""Hazards closer than this are not told apart."""
SHARPNESS: Final = 3.0
"""Pairwise comparisons are taken this much further; chosen on staged collisions (note 0015)."""
N_OTHERS: Final = 3
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Axis `who` has N + 3 entries: the VMs, the host, the victim itself, nobody known.

    `attributed` (R, N, N + 3): the measured loss of `ContentionMap.measured`, split; `culprit`
    (R, N, N + 3): probability that who did most of it (sums to less than 1: perhaps there is no
    harm worth the name); `without` (R, N, N + 2): loss that physics expects had who not pressed;
    `unexplained` (N,): loss seen inside a guest that no resource's loss explains, NaN unknown.
    """

    attributed: F64
    culprit: F64
    without: F64
    unexplained: F64


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """One resource of a host over T rows.

    Predicted `loss` and `measured` (T, N) are shares of demand (NaN: not measured), `share`
    (T, N, N + 2) is blame and `blamed` (N, N + 2) the loss by it, `floor` (N,) a shard as a share
    of demand, `known_norm` (N,) says whose usual demand is known, and `cores` are given where the
    pool is the CPU.
    """

    loss: F64
    measured: F64
    share: F64
    blamed: F64
    presses: Pressing
    floor: F64
    known_norm: F64
    cores: SharedCores | None = None


def weigh(
    pool: Pool, row_weights: F64, measured: F64, log_odds: F64 | None = None
) -> tuple[F64, F64, F64]:
    """(attributed, culprit, without) of one resource, as in `Evidence` less its first axis.

    `row_weights` (T,) sum to 1; `measured` (N,) is the loss to split; `log_odds` (N, N) of
    experiments that were made on [victim, suspect].
    """
    n = pool.loss.shape[1]
    attributed, culprit = np.zeros((n, n + 3)), np.zeros((n, n + 3))
    without = np.zeros((n, n + 2))
    expected = row_weights @ pool.loss
    worst = np.maximum(expected, measured)
    victims = np.flatnonzero(worst >= MIN_LOSS)
    attributed[:, -1] = measured
    if not len(victims):
        return attributed, culprit, without
    victims = victims[np.argsort(-worst[victims], kind="stable")]
    group = _groups(len(row_weights))
    base = _in_hazard(pool.blamed[victims], expected[victims])
    suspects, examined = _suspects(base[:, :n])
    x = _effects(pool, group, victims, suspects)
    x[:, :, : suspects.shape[1]] *= examined[:, None, :]
    y = hazard(_means(pool.measured[:, victims], group), MOST_TELLABLE)
    weight = np.add.reduceat(row_weights, group)
    spread = np.where(pool.known_norm[suspects] > 0, SPREAD, SPREAD_WITHOUT_NORM)
    mean, cov = _posterior(x, y.T, spread)
    now = np.einsum("t,vtk->vk", weight, x)
    part, spread_of_part = mean * now, now[:, :, None] * cov * now[:, None, :]
    part[(now == 0) | (part < 0)] = 0.0
    log_p = _most(part, spread_of_part, now)
    if log_odds is not None:
        log_p[:, : suspects.shape[1]] += log_odds[victims[:, None], suspects]
    probability = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    probability *= _harmed(part, spread_of_part, hazard(pool.floor[victims], MOST_TELLABLE))[
        :, None
    ]
    rows = victims[:, None]
    others = np.broadcast_to(np.arange(n, n + N_OTHERS), (len(victims), N_OTHERS))
    where = np.concatenate([suspects, others], axis=1)
    culprit[rows, where] = probability
    full = np.zeros((len(victims), n + 3))
    full[:, : n + 2] = base
    by_blame = np.take_along_axis(full, suspects, axis=1)
    part[:, : suspects.shape[1]] += by_blame * ~examined
    np.put_along_axis(full, where, part, axis=1)
    heard = np.einsum("t,tv->v", weight, np.nan_to_num(y))
    full[:, -1] += np.maximum(heard - full.sum(axis=1), 0.0)
    total = full.sum(axis=1, keepdims=True)
    shares = np.divide(full, total, out=np.zeros_like(full), where=total > 0)
    nobody = total[:, 0] <= 0
    shares[nobody, -1] = 1.0
    attributed[victims] = shares * measured[victims, None]
    without[victims] = _without(base, expected[victims], where, now)
    return attributed, culprit, without


def unexplained(inside_loss: F64, loss: F64, row_weights: F64) -> F64:
    """(N,) loss seen inside guests beyond what the four resources explain; NaN where none speaks.

    inside_loss (T, N), loss (T, N, R). Hazards add, so what is left is a difference of hazards.
    """
    heard = ~np.isnan(inside_loss)
    weight = row_weights[:, None] * heard
    total = weight.sum(axis=0)
    left = hazard(np.nan_to_num(inside_loss), MOST_TELLABLE) - hazard(
        np.nan_to_num(loss), MOST_TELLABLE
    ).sum(axis=2)
    mean = np.divide(
        (weight * left).sum(axis=0), total, np.full(len(total), np.nan), where=total > 0
    )
    return np.asarray(-np.expm1(-np.maximum(mean, 0.0)))


def _in_hazard(blamed: F64, expected: F64) -> F64:
    """Parts of the expected loss as parts of its hazard."""
    total = blamed.sum(axis=1, keepdims=True)
    whole = hazard(expected, MOST_TELLABLE)[:, None]
    none = np.zeros_like(blamed)
    return np.asarray(np.divide(blamed * whole, total, out=none, where=total > 0))


def _groups(n_rows: int) -> Ints:
    """First row of each of at most MAX_ROWS stretches of rows of about the same length."""
    n = min(n_rows, MAX_ROWS)
    return np.arange(n) * n_rows // n


def _means(rows: F64, group: Ints) -> F64:
    """Means over stretches of rows, of what is known; NaN where nothing is."""
    known = ~np.isnan(rows)
    n = np.add.reduceat(known, group, axis=0, dtype=np.float64)
    total = np.add.reduceat(np.where(known, rows, 0.0), group, axis=0)
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def _suspects(base: F64) -> tuple[Ints, Bools]:
    """(V, C) columns of those with most of the blame, and which of them are examined.

    Whoever is blamed no more than the first one left out is not examined either, so that equals
    are treated alike; nor is whoever has no blame at all.
    """
    order = np.argsort(-base, axis=1, kind="stable")
    blamed = np.take_along_axis(base, order, axis=1)
    n = min(MAX_SUSPECTS, base.shape[1])
    left_out = blamed[:, n : n + 1].sum(axis=1, keepdims=True)
    return order[:, :n], blamed[:, :n] > left_out * (1.0 + 1e-9)


def _effects(pool: Pool, group: Ints, victims: Ints, suspects: Ints) -> F64:
    """(V, T, C + 3) hazard that each suspect, the host, itself and nobody known would explain."""
    n = pool.loss.shape[1]
    lost = hazard(pool.loss, MOST_TELLABLE)
    others = np.broadcast_to(np.arange(n, n + 2), (len(victims), 2))
    where = np.concatenate([suspects, others], axis=1)
    by_blame = lost[:, victims, None] * pool.share[:, victims[:, None], where]
    x = np.ones((len(victims), len(group), where.shape[1] + 1))
    x[:, :, :-1] = _means(by_blame, group).transpose(1, 0, 2)
    if pool.cores is None:
        return x
    cores, presses = _condense(pool.cores, pool.presses, group)
    for v in range(min(len(victims), MAX_VICTIMS)):
        worlds = effects(cores, presses, int(victims[v]), suspects[v])
        if worlds is not None:
            lessened = worlds[:, :1] - worlds[:, 1:]
            lessened[lessened < ROUNDING] = 0.0
            x[v, :, :-1] = _scaled(lessened, worlds[:, 0])
    return x


def _scaled(lessened: F64, whole: F64) -> F64:
    """Effects that add up to the hazard: alone, each counts what only all of them together do."""
    total = lessened.sum(axis=1, keepdims=True)
    parts: F64 = np.divide(
        lessened * whole[:, None], total, np.zeros_like(lessened), where=total > 0
    )
    return parts


def _condense(cores: SharedCores, presses: Pressing, group: Ints) -> tuple[SharedCores, Pressing]:
    def mean(rows: F64) -> F64:
        return _means(rows, group)

    return (
        SharedCores(
            mean(cores.demand),
            mean(cores.background),
            cores.meeting,
            cores.weight,
            cores.n_vcpus,
            cores.reach,
            cores.n_cpus,
        ),
        Pressing(mean(presses.vms), mean(presses.host), mean(presses.surge)),
    )


def _posterior(x: F64, y: F64, spread: F64) -> tuple[F64, F64]:
    """Mean (V, K) and covariance (V, K, K) of the factors after rows x (V, T, K), y (V, T)."""
    n_victims, n_rows, k = x.shape
    mean = np.ones((n_victims, k))
    mean[:, -1] = 0.0
    sd = np.full((n_victims, k), SPREAD)
    sd[:, : spread.shape[1]] = spread
    sd[:, -1] = SPREAD_OF_UNEXPLAINED
    cov = np.zeros((n_victims, k, k))
    cov[:, range(k), range(k)] = sd**2
    for t in range(n_rows):
        row, known = x[:, t], ~np.isnan(y[:, t])
        says = (row * mean).sum(axis=1)
        heard = np.where(known, y[:, t], says)
        noise = NOISE + NOISE_SHARE * np.maximum(heard, row.sum(axis=1) - row[:, -1])
        gain = np.einsum("vkl,vl->vk", cov, row)
        scale = np.where(known, 1.0 / ((row * gain).sum(axis=1) + noise**2), 0.0)[:, None]
        mean = mean + gain * scale * (heard - says)[:, None]
        cov = cov - (gain * scale)[:, :, None] * gain[:, None, :]
    return mean, cov


def _most(part: F64, cov: F64, now: F64) -> F64:
    """(V, K) log probability, up to a constant, that each part is the largest one.

    Pairwise normal comparisons, multiplied.
    """
    own = np.diagonal(cov, axis1=1, axis2=2)
    apart = own[:, :, None] + own[:, None, :] - 2.0 * cov
    z = part[:, :, None] - part[:, None, :]
    z /= np.sqrt(np.maximum(apart, 0.0) + TELLING**2)
    log_more = _log_normal(SHARPNESS * z)
    possible = now > 0
    log_more *= possible[:, None, :] & ~np.eye(part.shape[1], dtype=bool)
    log_p: F64 = log_more.sum(axis=2)
    log_p[~possible] = -np.inf
    return log_p


def _harmed(part: F64, cov: F64, floor: F64) -> F64:
    """(V,) probability that all that can be explained amounts to `floor`, in hazard."""
    known = np.maximum(cov[:, :-1, :-1].sum(axis=(1, 2)), 0.0)
    z = (part[:, :-1].sum(axis=1) - floor) / np.sqrt(known + TELLING**2)
    return np.asarray(np.exp(_log_normal(z)))


def _log_normal(z: F64) -> F64:
    """Log of the normal distribution function, taken as logistic (Bowling et al. 2009)."""
    return np.asarray(-np.logaddexp(0.0, -1.702 * z))


def _without(base: F64, expected: F64, where: Ints, now: F64) -> F64:
    """(V, N + 2) loss expected had who not pressed: hazards are taken away, not losses."""
    whole = hazard(expected, MOST_TELLABLE)[:, None]
    parts = base.copy()
    np.put_along_axis(parts, where[:, :-1], now[:, :-1], axis=1)
    return np.asarray(-np.expm1(-np.maximum(whole - parts, 0.0)))
