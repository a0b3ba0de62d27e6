"""Training rows for learnt models: origins drawn at random, features as of then, and the truth."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from evenkeel.domain.arrays import F32, Bools, Ints
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import Targets
from evenkeel.forecast.features import Features, describe, truth
from evenkeel.forecast.kin import DAY, WEEK

HISTORY = WEEK + DAY
"""Slots before the origin that models look at."""
FIRST_ORIGIN = 12
HOLDOUT_SHARE = 0.12
MAX_HELD_OUT = 150
"""VMs, about: these are enough to choose by, and the others are better learnt from."""
MAX_ORIGINS = 700
"""At most so many origins in one drawing: with few VMs each costs more than it teaches."""


class NothingKnown(ValueError):
    """No demand is known where a target would lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Features of R series-origins and what came to be, `truth` (R, K), NaN where not known.

    Where `censored` (R, K) is set the demand was at least the truth.
    """

    features: Features
    truth: F32
    censored: Bools


def draw(
    panels: Sequence[Panel],
    targets: Targets,
    floor: float,
    n_rows: int,
    rng: np.random.Generator,
    short_share: float = 0.06,
    firsts: Sequence[int] | None = None,
) -> Rows:
    """About `n_rows` rows, all series at random origins; panels in proportion to their length.

    For `short_share` of the origins what came before is forgotten, as if the VMs were new.
    `firsts`: the first origin in each panel. Raises NothingKnown.
    """
    firsts = [FIRST_ORIGIN] * len(panels) if firsts is None else firsts
    origins = [_origins(p, first, targets) for p, first in zip(panels, firsts, strict=True)]
    weight = np.array([len(o) * p.n_series for o, p in zip(origins, panels, strict=True)])
    parts: list[Rows] = []
    for panel, useful, share in zip(panels, origins, weight / max(weight.sum(), 1), strict=True):
        if not share:
            continue
        n_origins = max(1, round(share * min(n_rows / panel.n_series, MAX_ORIGINS)))
        chosen = rng.choice(len(useful), min(len(useful), n_origins), replace=False)
        parts += [
            _rows_at(panel, int(useful[at]), targets, floor, rng, short_share)
            for at in np.sort(chosen)
        ]
    if not any(len(part.truth) for part in parts):
        raise NothingKnown(f"nothing to learn from: no demand is known after {FIRST_ORIGIN} slots")
    return _joined(parts)


def _origins(panel: Panel, first: int, targets: Targets) -> Ints:
    """Slots from `first` on after which a target of some series is known, as far as one can tell
    from the fleet as a whole: not before a hole that all share."""
    n_known = np.concatenate([[0], np.cumsum((~np.isnan(panel.values)).any(axis=0))])
    at = np.arange(first, max(first, panel.n_slots))
    spans = [(h - 1, h) for h in targets.horizons] + [(0, w) for w in targets.windows]
    is_known = np.zeros(len(at), dtype=bool)
    for start, end in spans:
        n_before, n_after = (n_known[np.minimum(at + n, panel.n_slots)] for n in (start, end))
        is_known |= n_after > n_before
    return at[is_known]


def _rows_at(
    panel: Panel,
    origin: int,
    targets: Targets,
    floor: float,
    rng: np.random.Generator,
    short_share: float,
) -> Rows:
    n_known = min(origin, HISTORY)
    if rng.random() < short_share:
        n_known = min(n_known, int(2 ** rng.uniform(0, 8)))
    values = truth(panel, origin, targets)
    keep: Bools = np.any(~np.isnan(values), axis=1)
    chosen = panel.only(keep) if not keep.all() else panel
    features = describe(chosen.between(origin - n_known, origin), targets, floor)
    return Rows(features, values[keep], _censored(chosen, origin, targets))


def _censored(panel: Panel, origin: int, targets: Targets) -> Bools:
    spans = [(h - 1, h) for h in targets.horizons] + [(0, w) for w in targets.windows]
    if panel.censored is None:
        return np.zeros((panel.n_series, len(spans)), dtype=bool)
    marks = [panel.censored[:, origin + a : origin + b].any(axis=1) for a, b in spans]
    return np.stack(marks, axis=1)


def _joined(parts: Sequence[Rows]) -> Rows:
    features = Features(
        *(
            np.concatenate([getattr(part.features, field.name) for part in parts])
            for field in fields(Features)
        )
    )
    return Rows(
        features,
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.censored for part in parts]),
    )


def held_out(ids: Sequence[str], seed: int, share: float) -> Bools:
    """Which series are kept apart: by name, so that a VM is apart in every panel or in none."""
    hashes = np.array([zlib.crc32(f"{seed}:{name}".encode()) for name in ids], dtype=np.uint32)
    return hashes < share * 2.0**32


def apart(panels: Sequence[Panel], seed: int) -> list[Bools]:
    """Which series of each panel are kept apart from training: a share of the VMs, not too many."""
    n_vms = len(set().union(*(panel.ids for panel in panels)))
    share = min(HOLDOUT_SHARE, MAX_HELD_OUT / max(n_vms, 1))
    return [held_out(panel.ids, seed, share) for panel in panels]


def least_scale(panels: Sequence[Panel]) -> float:
    """A thousandth of the mean demand: what is smaller counts as nothing. Never 0."""
    total = sum(float(np.nansum(panel.values, dtype=np.float64)) for panel in panels)
    n_known = sum(int((~np.isnan(panel.values)).sum()) for panel in panels)
    return max(1e-3 * total / max(n_known, 1), 1e-9)
