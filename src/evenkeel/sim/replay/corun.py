"""Contention that no pool explains: caches, memory bandwidth, devices, as co-runs measured it.

A table says how much slower a victim gets beside a partner. What cores explain by being busy at
the same time (`overlap`) is taken out of that first, for that part is reckoned for the host at
hand; the rest is what a partner does that takes the part of a host it took when it was measured.
One that takes a part of that does that part of it. Where the two shared one core the rest can only
come of waiting for that core more often than a mere computation does (requests that wake somebody
up again and again), so there it goes with what is waited for cores on the host at hand, and with
what of its cores is idle: where none is, what one loses so another one gets.
Neighbours act by themselves: what a VM keeps is the product of what each leaves it,
1 - prod(1 - loss).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import TraceInvalid
from evenkeel.sim.replay.overlap import overlap_of_few
from evenkeel.sim.replay.world import by_host

MOST_LOSS: Final = 0.95
TINY: Final = 1e-12
IDLE_CORES: Final = 0.02
"""Of a host: a partner that takes less was there to be a control."""


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """K kinds of work: `loss` (K, K) of a victim (row) beside a partner (column), beyond what cores
    explain, when the partner takes `part` (K,) of its host's CPUs; `waits`: it goes
    with the wait for cores, as long as some are idle."""

    kinds: tuple[str, ...]
    loss: F64
    part: F64
    waits: bool = False

    @classmethod
    def none(cls) -> Residual:
        return cls(("any",), np.zeros((1, 1)), np.ones(1))

    @classmethod
    def of(cls, pairs: CoRuns, n_cpus: int, vcpus: int) -> Residual:
        """From pairs measured on a host of `n_cpus` in guests of `vcpus` each.

        A pair that was not measured has the mean of its victim's and its partner's. Raises
        TraceInvalid where CPU alone is not known, or nobody does anything.
        """
        victim_cpu = pairs.column("victim", "cpu_cores")
        partner_cpu = pairs.column("partner", "cpu_cores")
        if victim_cpu is None or partner_cpu is None:
            raise TraceInvalid("co-runs without the CPU that each takes alone")
        good = np.isfinite(partner_cpu) & (partner_cpu > IDLE_CORES * n_cpus)
        good &= np.isfinite(pairs.slowdown)
        names = sorted({v for v, ok in zip(pairs.victim, good, strict=True) if ok})
        place = {name: k for k, name in enumerate(names)}
        rows = [i for i in np.flatnonzero(good).tolist() if pairs.partner[i] in place]
        if not rows:
            raise TraceInvalid("no pair of workloads in the co-runs that does anything")
        kept = np.ones((len(names), len(names))) * np.nan
        cells: dict[tuple[int, int], list[float]] = {}
        taken: dict[int, list[float]] = {}
        for i in rows:
            at = place[pairs.victim[i]], place[pairs.partner[i]]
            others = np.full(vcpus, min(float(partner_cpu[i]) / vcpus, 1.0))
            explained = overlap_of_few(others, n_cpus)
            cells.setdefault(at, []).append(1.0 / float(pairs.slowdown[i]) / (1.0 - explained))
            taken.setdefault(at[1], []).append(float(partner_cpu[i]) / n_cpus)
        for at, values in cells.items():
            kept[at] = float(np.median(values))
        loss = np.clip(1.0 - _filled(kept), 0.0, MOST_LOSS)
        part = np.array([np.median(taken.get(k, [1.0])) for k in range(len(names))])
        return cls(tuple(names), loss, part, waits=n_cpus == 1)

    @property
    def is_none(self) -> bool:
        return not self.loss.any()

    def kinds_of(self, told: tuple[str, ...], seed: int) -> Ints:
        """(V,) positions in `kinds`: what is told, where the table knows it, else by seed."""
        drawn = np.random.default_rng([seed, len(self.kinds)]).integers(
            len(self.kinds), size=len(told)
        )
        place = {name: k for k, name in enumerate(self.kinds)}
        return np.array(
            [place.get(kind, int(k)) for kind, k in zip(told, drawn, strict=True)], dtype=np.intp
        )

    def beside(self, at: Ints, kind: Ints, busy: F64, n_cpus: F64, overlap: F64) -> F64:
        """(n,) loss of each VM by its neighbours, of `kind` (n,), with `busy` (n,) cores each;
        `overlap` (n,): what each loses because cores are busy."""
        n = len(n_cpus)
        part = busy / n_cpus[at]
        if self.waits:
            # A partner alone that is busy for a part p of the time makes a victim lose p / 2.
            total = np.maximum(by_host(at, busy, n), TINY)
            waited = by_host(at, overlap * busy, n) / total
            idle = np.maximum(1.0 - total / n_cpus, 0.0)
            part = 2.0 * (waited * idle)[at] * busy / total[at]
        doing = np.minimum(part / self.part[kind], 1.0)
        kept = np.log1p(-self.loss[:, kind].T * doing[:, None])
        total = np.column_stack([by_host(at, column, n) for column in kept.T])
        mine = np.arange(len(at))
        return np.asarray(-np.expm1(np.minimum(total[at, kind] - kept[mine, kind], 0.0)))


def _filled(kept: F64) -> F64:
    """Cells that were not measured by their row's and their column's mean."""
    known = np.isfinite(kept)
    total = float(kept[known].mean())

    def means(axis: int) -> F64:
        count = known.sum(axis=axis)
        sums = np.where(known, kept, 0.0).sum(axis=axis)
        return np.asarray(np.divide(sums, count, out=np.full(len(count), total), where=count > 0))

    guess = 0.5 * (means(1)[:, None] + means(0)[None, :])
    return np.asarray(np.where(known, kept, guess))
