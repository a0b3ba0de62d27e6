"""Measured co-runs: a victim beside a partner, what both do alone, and how much slower it got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints


@dataclass(frozen=True, slots=True, eq=False)
class CoRuns:
    """N co-runs, as columns.

    `victim`, `partner`, `campaign` (N,) names. `victim_solo` (N, V) and `partner_solo` (N, P) are
    known before the two meet, in the units that their names say; NaN: not known. `placement`
    (N, M) says where each runs (shares of their work by group of cores); M = 0 where all cores are
    shared. `slowdown` (N,) is time together over time alone, NaN when it is asked for. `cpi_rise`
    (N,) is measured during the co-run: the victim's cycles per instruction above its own alone, in
    standard deviations of that; only detectors may look at it, NaN where it was not measured.
    """

    victim: tuple[str, ...]
    partner: tuple[str, ...]
    campaign: tuple[str, ...]
    victim_features: tuple[str, ...]
    partner_features: tuple[str, ...]
    placement_features: tuple[str, ...]
    victim_solo: F64
    partner_solo: F64
    placement: F64
    slowdown: F64
    cpi_rise: F64

    def __post_init__(self) -> None:
        n = len(self.victim)
        shapes = {
            "partner": (len(self.partner),) == (n,),
            "campaign": (len(self.campaign),) == (n,),
            "victim_solo": self.victim_solo.shape == (n, len(self.victim_features)),
            "partner_solo": self.partner_solo.shape == (n, len(self.partner_features)),
            "placement": self.placement.shape == (n, len(self.placement_features)),
            "slowdown": self.slowdown.shape == (n,),
            "cpi_rise": self.cpi_rise.shape == (n,),
        }
        wrong = [name for name, is_right in shapes.items() if not is_right]
        if wrong:
            raise ValueError(f"co-runs: {', '.join(wrong)} of another shape than {n} rows")
        known = ~np.isnan(self.slowdown)
        if (self.slowdown[known] <= 0).any() or np.isinf(self.slowdown).any():
            raise ValueError("co-runs: a slowdown is above 0 and finite")

    @property
    def n(self) -> int:
        return len(self.victim)

    @property
    def pair(self) -> tuple[tuple[str, str], ...]:
        """The two names in order, so that both directions of a pair are one."""
        return tuple(
            (v, p) if v <= p else (p, v) for v, p in zip(self.victim, self.partner, strict=True)
        )

    @property
    def has_one_profile(self) -> bool:
        """Victims and partners are described alike: a workload has the same features as either."""
        return self.victim_features == self.partner_features

    def take(self, which: Ints | Bools) -> CoRuns:
        """The rows that an index or a mask names."""
        index = np.arange(self.n)[which]
        return replace(
            self,
            victim=tuple(self.victim[i] for i in index),
            partner=tuple(self.partner[i] for i in index),
            campaign=tuple(self.campaign[i] for i in index),
            victim_solo=self.victim_solo[index],
            partner_solo=self.partner_solo[index],
            placement=self.placement[index],
            slowdown=self.slowdown[index],
            cpi_rise=self.cpi_rise[index],
        )

    def blind(self) -> CoRuns:
        """The same without the truth: what a model is asked with."""
        return replace(self, slowdown=np.full(self.n, np.nan))

    def without_placement(self) -> CoRuns:
        """The same as seen by one who does not know where the two run."""
        return replace(self, placement_features=(), placement=np.empty((self.n, 0)))

    def column(self, side: str, name: str) -> F64 | None:
        """(N,) feature `name` of `side` (victim or partner), None when there is no such one."""
        names, values = (
            (self.victim_features, self.victim_solo)
            if side == "victim"
            else (self.partner_features, self.partner_solo)
        )
        return values[:, names.index(name)] if name in names else None


def joined(parts: Sequence[CoRuns]) -> CoRuns:
    """All rows of `parts`, in order. Raises ValueError when their features differ."""
    first = parts[0]
    for part in parts[1:]:
        for name in ("victim_features", "partner_features", "placement_features"):
            if getattr(part, name) != getattr(first, name):
                raise ValueError(f"co-runs with different {name.replace('_', ' ')}")
    return replace(
        first,
        victim=tuple(v for p in parts for v in p.victim),
        partner=tuple(v for p in parts for v in p.partner),
        campaign=tuple(v for p in parts for v in p.campaign),
        victim_solo=np.concatenate([p.victim_solo for p in parts]),
        partner_solo=np.concatenate([p.partner_solo for p in parts]),
        placement=np.concatenate([p.placement for p in parts]),
        slowdown=np.concatenate([p.slowdown for p in parts]),
        cpi_rise=np.concatenate([p.cpi_rise for p in parts]),
    )
