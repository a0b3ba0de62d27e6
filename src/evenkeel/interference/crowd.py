"""How many rivals a runnable vCPU meets, and what it loses to them: many rows at once.

The number of runnable vCPUs is a sum of independent on/off ones (Poisson-binomial). Its
distribution is built by adding one vCPU after the other, and a vCPU's own rivals are what is left
when one is taken out again; taking out runs from the end that keeps rounding errors from growing
(Barlow & Heidtmann 1984, doi:10.1109/TR.1984.5221843). Exact, and all in whole-array steps: the
last axis holds rows of any number of hosts, so that an agent with a dozen rows and a controller
with ten thousand hosts run this very code.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints

NEGLIGIBLE: Final = 1e-14
"""Probabilities below this, at either end of a distribution, are not followed."""

# Nine Gauss nodes of the standard normal and their weights (numpy.polynomial.hermite_e.hermegauss,
# normalised): written out, because computing them loads LAPACK into the agent.
_HALF = (
    (0.0, 0.40634920634920635),
    (1.0232556637891326, 0.24409750289493916),
    (2.0768479786778300, 0.04991640676521788),
    (3.2054290028564700, 0.0027891413212317653),
    (4.5127458633997830, 2.2345844007746570e-05),
)
_NODES = np.array([-x for x, _ in _HALF[:0:-1]] + [x for x, _ in _HALF])
_WEIGHTS = np.array([w for _, w in _HALF[:0:-1]] + [w for _, w in _HALF])


def lost_at(k: F64 | float, ratio: F64 | float, c: F64 | float) -> F64:
    """Share that a runnable vCPU loses on c CPUs when it meets k others of `ratio` its weight."""
    rate = np.maximum(c / (1.0 + k * ratio), c - k)
    return np.asarray(1.0 - np.minimum(rate, 1.0), dtype=np.float64)


def runnable(busy: F64, vcpus: Ints) -> F64:
    """(V + 1, M) distribution of how many vCPUs run or want to, V: the largest number there is.

    busy (n, M) share of time that each of a VM's `vcpus` (n, M) is runnable.
    """
    if (vcpus != vcpus[:, :1]).any():
        # Rows whose VMs differ in size go in step when the large ones come first.
        order = np.argsort(-vcpus, axis=0, kind="stable")
        busy, vcpus = np.take_along_axis(busy, order, 0), np.take_along_axis(vcpus, order, 0)
    most = vcpus.max(axis=1, initial=0)
    pmf = np.zeros((int(most.sum()) + 1, busy.shape[1]))
    scratch = np.empty_like(pmf)
    pmf[0] = 1.0
    size = 1
    for p_of_vm, n, largest in zip(busy, vcpus, most.tolist(), strict=True):
        for v in range(largest):
            p = p_of_vm * (n > v)
            moved = np.multiply(pmf[:size], p, out=scratch[:size])
            pmf[:size] -= moved
            pmf[1 : size + 1] += moved
            size += 1
    return pmf


def lost_to_rivals(pmf: F64, busy: F64, ratio: F64, c: F64) -> F64:
    """(n, M) expected lost share of a vCPU that is runnable, over all others of `pmf`.

    pmf (V + 1, M) from `runnable`; busy, ratio (n, M); c (M,) CPUs.
    """
    n_states = len(pmf)
    peak = pmf.max(axis=1)
    followed = np.flatnonzero(peak > NEGLIGIBLE)
    low, high = int(followed[0]), int(followed[-1])
    crowded = int(np.floor(c.min()))  # with fewer others than this nobody waits
    lost_share = np.zeros_like(busy)
    mostly = busy > 0.5
    keep = np.where(mostly, 1.0, 1.0 - busy)
    odds = np.where(mostly, 0.0, busy / keep)
    others, scratch = np.zeros_like(busy), np.empty_like(busy)
    for k in range(low, min(high + 1, n_states - 1)):
        # P(others = k) = (P(all = k) - p P(others = k - 1)) / (1 - p)
        np.multiply(others, odds, out=scratch)
        np.divide(pmf[k], keep, out=others)
        others -= scratch
        if k >= crowded:
            lost_share += _weighed(others, k, ratio, c, scratch)
    if mostly.any():
        vm, row = np.nonzero(mostly)
        states = range(min(high, n_states - 1), crowded, -1)
        lost_share[vm, row] = _from_above(
            pmf[:, row], busy[vm, row], ratio[vm, row], c[row], states
        )
    return lost_share


def _weighed(others: F64, k: int, ratio: F64, c: F64, scratch: F64) -> F64:
    """P(others = k) times the share that is lost then; `lost_at` without new arrays."""
    np.multiply(ratio, k, out=scratch)
    scratch += 1.0
    np.divide(c, scratch, out=scratch)
    np.maximum(scratch, c - k, out=scratch)
    np.minimum(scratch, 1.0, out=scratch)
    np.subtract(1.0, scratch, out=scratch)
    scratch *= others
    return scratch


def _from_above(pmf: F64, busy: F64, ratio: F64, c: F64, states: range) -> F64:
    """(M,) the same for vCPUs that are runnable most of the time, one column of `pmf` each."""
    others, lost_share = np.zeros_like(busy), np.zeros_like(busy)
    odds = (1.0 - busy) / busy
    for k in states:
        # P(others = k - 1) = (P(all = k) - (1 - p) P(others = k)) / p
        others = pmf[k] / busy - odds * others
        lost_share += others * lost_at(float(k - 1), ratio, c)
    return lost_share


def lost_to_siblings(busy: F64, vcpus: Ints, c: F64) -> F64:
    """(M,) what a vCPU would lose to its own VM's other vCPUs alone. busy, vcpus, c (M,)."""
    pmf = runnable(busy[None], vcpus[None] - 1)
    k = np.arange(len(pmf), dtype=np.float64)[:, None]
    return np.asarray((pmf * lost_at(k, 1.0, c)).sum(axis=0), dtype=np.float64)


def conserved(lost_share: F64, wanted: F64, lacking: F64) -> F64:
    """(n, M) the same, so that all together lose the (M,) cores that are lacking, no more or less.

    A core is never idle while somebody waits. With weights apart, the rate of one vCPU takes its
    rivals for alike, and lets light ones lose what heavy ones, capped at a core each, leave them.
    """
    total = (wanted * lost_share).sum(axis=0)
    factor = np.divide(lacking, total, out=np.ones_like(total), where=total > 1e-9)
    return np.asarray(np.minimum(lost_share * factor, 1.0), dtype=np.float64)


def lost_in_crowd(everybody: F64, busy: F64, k_mean: F64, ratio: F64, c: F64) -> F64:
    """(n, M) lost share with the number of rivals taken as normal, less what siblings take.

    everybody (n, M) cores wanted, k_mean (n, M) mean number of rivals.
    """
    variance = everybody * (1.0 - busy)
    of_one = busy * (1.0 - busy)
    spread_all = np.sqrt(np.maximum(variance.sum(axis=0), 0.0))
    spread = np.sqrt(np.maximum(variance.sum(axis=0) - of_one, 0.0))
    own_spread = np.sqrt(np.maximum(variance - of_one, 0.0))
    wanted = everybody.sum(axis=0)
    lost_share, to_siblings = np.zeros_like(everybody), np.zeros_like(everybody)
    lacking = np.zeros_like(wanted)
    for node, p in zip(_NODES, _WEIGHTS, strict=True):
        k = np.maximum(k_mean + node * spread, 0.0)
        own = np.maximum(everybody - busy + node * own_spread, 0.0)
        lost_share += p * lost_at(k, ratio, c)
        to_siblings += p * lost_at(own, 1.0, c)
        lacking += p * np.maximum(wanted + node * spread_all - c, 0.0)
    return np.asarray(conserved(lost_share, everybody, lacking) - to_siblings, dtype=np.float64)
