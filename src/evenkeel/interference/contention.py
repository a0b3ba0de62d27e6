"""The contention map: every directed pair on a host with a calibrated score, from a window.

score = 100 * probability * severity: over the window's rows, weighted by recency, the
probability that the victim's loss is material (at least one shard) and the mean share of its demand
that it then loses because of the aggressor. The next `horizon_s` is forecast to be like the
recency-weighted window, or, for scores ahead, to bring the demand that is forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.domain.resources import AXIS, CPU_AXIS, N_RESOURCES, SPECS
from evenkeel.domain.score import PRESENT_S, PairScore
from evenkeel.domain.vm import Vm
from evenkeel.interference.evidence import Evidence, unexplained, weigh
from evenkeel.interference.hazards import Composed, Load, Traits, compose, with_findings
from evenkeel.interference.loads import cpu_demand, host_loads
from evenkeel.interference.rows import Rows, ahead, present
from evenkeel.interference.weighing import Findings, blamed, coverage, log_odds, pool_of
from evenkeel.interference.window import Window

HORIZON_S: Final = PRESENT_S
MIN_SCORE: Final = 1.0
SHARDS: Final = np.array([SPECS[resource].shard for resource in AXIS])
TINY: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class ContentionMap:
    """All directed pairs of a host. Axis `who` has n_vms + 2 entries: the VMs, the host, oneself.

    `score` (R, N, N + 2), `probability` `predicted` `measured` (R, N): chance of a material loss,
    expected and lately measured share of demand lost in material rows. `confidence` (R, N).
    """

    host: Host
    at_s: float
    vms: tuple[Vm, ...]
    score: F64
    probability: F64
    predicted: F64
    measured: F64
    confidence: F64
    window_s: float
    n_rows: int
    horizon_s: float = HORIZON_S
    evidence: Evidence | None = None
    """None where nothing was measured yet, and of maps ahead."""

    def pairs(self, min_score: float = MIN_SCORE) -> tuple[PairScore, ...]:
        """Pairs (and host -> VM) at or above `min_score`, worst first; ties by id."""
        n = len(self.vms)
        found = np.argwhere(self.score[:, :, : n + 1] >= min_score)
        out = [
            PairScore(
                victim=self.vms[i].id,
                aggressor=HOST_ITSELF if j == n else self.vms[j].id,
                resource=AXIS[r],
                score=round(float(self.score[r, i, j]), 2),
                probability=round(float(self.probability[r, i]), 4),
                severity=round(float(self.score[r, i, j] / 100 / self.probability[r, i]), 4),
                confidence=round(self.confidence_in(r, i, j), 3),
                window_s=self.window_s,
                n_samples=self.n_rows,
                horizon_s=self.horizon_s,
            )
            for r, i, j in found
        ]
        return tuple(sorted(out, key=lambda p: (-p.score, p.victim, p.aggressor, p.resource)))

    def confidence_in(self, resource: int, victim: int, who: int) -> float:
        """Probability that `who` does most of the victim's loss; all three are positions."""
        if self.evidence is None:
            said = self.score[resource, victim]
            share = float(said[who]) / max(float(said.sum()), TINY)
            return float(self.confidence[resource, victim]) * share
        return float(self.evidence.culprit[resource, victim, who])


def score_host(
    window: Window,
    host: Host,
    half_life_s: float,
    traits: Traits | None = None,
    findings: Findings | None = None,
) -> ContentionMap:
    """Score all pairs on a host from its window. Never raises; an empty window scores nothing."""
    rows = present(window, half_life_s)
    loads = host_loads(rows, host)
    return score_loads(rows, loads, window, host, half_life_s, traits, findings)


def score_ahead(
    quantiles: F32 | F64,
    horizon_s: float,
    window: Window,
    host: Host,
    half_life_s: float,
    traits: Traits | None = None,
    findings: Findings | None = None,
) -> ContentionMap:
    """Score all pairs of a host as they will stand `horizon_s` from now, from forecast demand.

    quantiles (N, R, Q) of each of the window's VMs at that time, from the host's own forecasts or
    the controller's slots; NaN where there is none, and demand is expected to stay. Of what has not
    happened there is no evidence: confidence in a culprit is its part of the score.
    """
    rows = ahead(quantiles, window, half_life_s)
    recency = window.weights(half_life_s)
    n = len(rows.vms)
    out = _empty(host, window, n, horizon_s)
    odds = log_odds(window, findings) if findings else None
    for r, load in enumerate(host_loads(rows, host)):
        _fill(out, r, _composed(load, r, rows, traits, odds)[1])
    out.measured[:] = _measured(window, recency)
    out.confidence[:] = coverage(window.loss, recency).T
    return out


def score_loads(
    rows: Rows,
    loads: Sequence[Load],
    window: Window,
    host: Host,
    half_life_s: float,
    traits: Traits | None = None,
    findings: Findings | None = None,
) -> ContentionMap:
    """The map that present rows and their physics (`host_loads`) give, with the evidence."""
    n = len(rows.vms)
    out = _empty(host, window, n, HORIZON_S)
    if not loads:
        return out
    recency = window.weights(half_life_s)
    odds = log_odds(window, findings) if findings else None
    culprit, attributed = np.zeros((2, N_RESOURCES, n, n + 3))
    without = np.zeros((N_RESOURCES, n, n + 2))
    out.measured[:] = _measured(window, recency)
    for r, raw in enumerate(loads):
        load, found = _composed(raw, r, rows, traits, odds)
        _fill(out, r, found)
        if not out.probability[r].any() and not out.measured[r].any():
            continue
        share = blamed(r, load, traits)
        pool = pool_of(r, raw, found, share, out.score[r], rows, host, window)
        attributed[r], culprit[r], without[r] = weigh(pool, recency, out.measured[r], odds)
        culprit[r] *= coverage(window.loss[:, :, r], recency)[:, None]
        worst = out.score[r].argmax(1)[:, None]
        out.confidence[r] = np.take_along_axis(culprit[r], worst, 1)[:, 0]
    inside = unexplained(window.inside_loss, window.loss, recency)
    return replace(out, evidence=Evidence(attributed, culprit, without, inside))


def _empty(host: Host, window: Window, n: int, horizon_s: float) -> ContentionMap:
    return ContentionMap(
        host=host,
        at_s=float(window.at_s[-1]) if len(window.at_s) else 0.0,
        vms=window.vms,
        score=np.zeros((N_RESOURCES, n, n + 2)),
        probability=np.zeros((N_RESOURCES, n)),
        predicted=np.zeros((N_RESOURCES, n)),
        measured=np.zeros((N_RESOURCES, n)),
        confidence=np.zeros((N_RESOURCES, n)),
        window_s=window.window_s,
        n_rows=len(window.at_s),
        horizon_s=horizon_s,
    )


def _composed(
    load: Load, r: int, rows: Rows, traits: Traits | None, odds: F64 | None
) -> tuple[Load, Composed]:
    """A resource's load after experiments, and what it comes to."""
    if odds is not None:
        load = with_findings(load, np.exp(odds))
    if traits is None:
        return load, compose(load, rows.weights[None])
    s, p = traits.sensitivity[None, :, r], traits.pressure[None, :, r]
    return load, compose(load, rows.weights[None], s, p)


def _fill(out: ContentionMap, r: int, found: Composed) -> None:
    n = len(out.vms)
    out.probability[r], out.predicted[r] = found.probability[0], found.predicted[0]
    out.score[r, :, :n] = found.score[0]
    out.score[r, :, n], out.score[r, :, n + 1] = found.host[0], found.own[0]


def _measured(window: Window, row_weights: F64) -> F64:
    """(R, N) measured loss in material rows, weighted as the prediction is; NaN counts as none."""
    loss, demand = np.nan_to_num(window.loss), np.nan_to_num(window.demand)
    demand[:, :, CPU_AXIS] = cpu_demand(window)
    material = loss * demand >= SHARDS
    return np.asarray((material * loss * row_weights[:, None, None]).sum(axis=0).T)
