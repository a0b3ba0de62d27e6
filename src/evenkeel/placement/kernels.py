"""The inner loops of placement: what one more load does to every host. Compiled, no bar to threads.

A host is one slice or several (its NUMA cells). A slice holds of each resource four sums over the
VMs that are promised something (`PROMISED`) and four over those that take what is left
(`LEFTOVER`): of mean demand, of its variance and of its standard deviation from slot to slot, and
the variance within a slot (a vCPU runs or does not). Rows are slices, S of them.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.jit import compiled

I32 = np.ndarray[Any, np.dtype[np.int32]]
I8 = np.ndarray[Any, np.dtype[np.int8]]
N_SUMS: Final = 4
PROMISED: Final = 0
LEFTOVER: Final = 1
MEAN, VARIANCE, DEVIATION, GRAIN = range(N_SUMS)
TINY: Final = 1e-9
NEVER: Final = 7.0
"""So many deviations away is taken as out of reach: one in 10**12."""
SOON_S: Final = 600.0
DOUBLINGS: Final = 10.0
SQRT2: Final = math.sqrt(2.0)
SQRT2PI: Final = math.sqrt(2.0 * math.pi)
FITS: Final = 0
CLOSED: Final = 1
TOO_SMALL: Final = 2
"""`TOO_SMALL + r`: of resource r the empty host would have too little."""
SHORT: Final = 10
"""`SHORT + r`: of resource r there would be too little beside those that are there."""


@compiled
def expected_lost(mean: float, variance: float, room: float) -> float:
    """E[(X - room)+] of a normal X: what all together would not get, in the resource's unit."""
    short = mean - room
    if variance <= TINY * TINY:
        return max(short, 0.0)
    spread = math.sqrt(variance)
    z = short / spread
    if z < -NEVER:
        return 0.0
    density = math.exp(-0.5 * z * z) / SQRT2PI
    return spread * density + short * 0.5 * math.erfc(-z / SQRT2)


@compiled
def needed_at(mean: float, variance: float, z: float) -> float:
    """As `shortfall.needed`: z > 0 is the quantile of 1 - epsilon of a standard normal."""
    if mean <= 0.0:
        return 0.0
    flat = min(variance / (9.0 * mean * mean), 0.25 * z * z)
    root = 1.0 - flat + z * math.sqrt(flat)
    return mean * root * root * root


@compiled
def change(
    rows: Ints,
    shares: F64,
    sign: float,
    load: F64,
    take: F64,
    kinds: Ints,
    correlation: F64,
    capacity: F64,
    reserved: F64,
    sums: F64,
    lost: F64,
) -> None:
    """Add a load to slices (sign 1) or take it off again (-1), and say anew what they lose.

    shares (len(rows), R): the part of the load that each of the slices carries. load (R, 4),
    take and kinds (R,): what is set aside for this VM alone, and which of the sums it counts in.
    sums (S, R, 2, 4); lost (S, R).
    """
    for i in range(len(rows)):
        s = rows[i]
        for r in range(load.shape[0]):
            part = shares[i, r]
            if part == 0.0:
                continue
            held = sums[s, r, kinds[r]]
            held[MEAN] = max(held[MEAN] + sign * part * load[r, MEAN], 0.0)
            held[VARIANCE] = max(held[VARIANCE] + sign * part * part * load[r, VARIANCE], 0.0)
            held[DEVIATION] = max(held[DEVIATION] + sign * part * load[r, DEVIATION], 0.0)
            held[GRAIN] = max(held[GRAIN] + sign * part * load[r, GRAIN], 0.0)
            reserved[s, r] = max(reserved[s, r] + sign * part * take[r], 0.0)
            both = sums[s, r, PROMISED] + sums[s, r, LEFTOVER]
            rho = correlation[r]
            variance = (1.0 - rho) * both[VARIANCE] + rho * both[DEVIATION] ** 2 + both[GRAIN]
            room = capacity[s, r] - reserved[s, r]
            lost[s, r] = 0.0 if room == np.inf else expected_lost(both[MEAN], variance, room)


@compiled
def slice_score(
    s: int,
    part: F64,
    load: F64,
    take: F64,
    kinds: Ints,
    correlation: F64,
    z: float,
    capacity: F64,
    reserved: F64,
    sums: F64,
    lost: F64,
    aware: bool,
    out: F64,
) -> int:
    """What a slice would be with a share of the load on it: `FITS`, or what stands in the way.

    part (R,). out (2,) gets: work lost more, by all together, in parts of the slice's capacity,
    added up over resources; and how much would be left, mean of squared shares.
    """
    more, left, n_known = 0.0, 0.0, 0
    for r in range(load.shape[0]):
        p = part[r]
        room = capacity[s, r] - reserved[s, r] - p * take[r]
        if room == np.inf:
            continue
        promised = sums[s, r, PROMISED]
        rho = correlation[r]
        mean, wide, deep = promised[MEAN], promised[VARIANCE], promised[DEVIATION]
        asks = p * (load[r, MEAN] + take[r]) > 0.0
        if kinds[r] == PROMISED:
            mean += p * load[r, MEAN]
            wide += p * p * load[r, VARIANCE]
            deep += p * load[r, DEVIATION]
        need = needed_at(mean, (1.0 - rho) * wide + rho * deep * deep, z)
        if asks and need > room * (1.0 + TINY) + TINY:
            own = needed_at(
                p * load[r, MEAN],
                p * p * ((1.0 - rho) * load[r, VARIANCE] + rho * load[r, DEVIATION] ** 2),
                z,
            )
            if kinds[r] == LEFTOVER:
                own = 0.0
            if own + p * take[r] > capacity[s, r] * (1.0 + TINY) + TINY:
                return TOO_SMALL + r
            return SHORT + r
        whole = capacity[s, r]
        if whole <= 0.0:
            continue
        n_known += 1
        share = (room - need) / whole
        left += share * share
        if aware and asks:
            spare = sums[s, r, LEFTOVER]
            mean, wide, deep = mean + spare[MEAN], wide + spare[VARIANCE], deep + spare[DEVIATION]
            if kinds[r] == LEFTOVER:
                mean += p * load[r, MEAN]
                wide += p * p * load[r, VARIANCE]
                deep += p * load[r, DEVIATION]
            grain = promised[GRAIN] + spare[GRAIN] + p * load[r, GRAIN]
            variance = (1.0 - rho) * wide + rho * deep * deep + grain
            more += max(expected_lost(mean, variance, room) - lost[s, r], 0.0) / whole
    out[0] = more
    out[1] = left / n_known if n_known > 0 else 0.0
    return FITS


@compiled
def score_hosts(
    hosts: Ints,
    first: Ints,
    is_open: Bools,
    n_vms: Ints,
    by_host: Bools,
    whole: bool,
    load: F64,
    take: F64,
    kinds: Ints,
    rho: F64,
    z: float,
    capacity: F64,
    reserved: F64,
    sums: F64,
    lost: F64,
    tolerance: float,
    opening: float,
    aware: bool,
    out_score: F64,
    out_more: F32,
    out_slice: I32,
    out_code: I8,
) -> None:
    """Score some of the hosts for one load: steps of contention, then how well it packs.

    first (H + 1,): where each host's slices begin. by_host (R,): resources that all the slices of
    a host share, and each of them carries in full. whole: the load is spread over all slices in
    equal parts; else it goes to the one slice where it is best. out_* (H,): score (less is
    better, inf: does not fit), contention, the slice (-1: all), why it does not fit.
    """
    n_resources = load.shape[0]
    part = np.ones(n_resources)
    got = np.zeros(2)
    for i in range(len(hosts)):
        h = hosts[i]
        begin, end = first[h], first[h + 1]
        out_score[h], out_more[h], out_slice[h], out_code[h] = np.inf, 0.0, begin, CLOSED
        if not is_open[h]:
            continue
        if whole:
            for r in range(n_resources):
                part[r] = 1.0 if by_host[r] else 1.0 / (end - begin)
        more, left, code = 0.0, 0.0, FITS
        extra = opening if n_vms[h] == 0 else 0.0
        for s in range(begin, end):
            said = slice_score(
                s, part, load, take, kinds, rho, z, capacity, reserved, sums, lost, aware, got
            )
            if whole:
                code = max(code, said)
                more, left = max(more, got[0]), left + got[1] / (end - begin)
            elif said == FITS:
                score = math.floor((got[0] + extra) / tolerance) + got[1]
                if score < out_score[h]:
                    out_score[h], out_more[h], out_slice[h] = score, got[0], s
                    out_code[h] = FITS
            elif out_code[h] != FITS:
                out_code[h] = max(out_code[h], said)
        if whole:
            out_code[h], out_slice[h] = code, -1
            if code == FITS:
                out_score[h] = math.floor((more + extra) / tolerance) + left
                out_more[h] = more


@compiled
def stays_longer(end_s: float, now_s: float, last_s: float) -> float:
    """0 where a VM until `end_s` leaves before the last one on its host does, up to 1 where it
    would keep the host in use for long after: in doublings of `SOON_S`."""
    longer_s = end_s - max(last_s, now_s)
    if longer_s <= 0.0:
        return 0.0
    return min(math.log2(1.0 + longer_s / SOON_S) / DOUBLINGS, 1.0)


@compiled
def least(
    score: F64, barred: Bools, last_s: F64, end_s: float, now_s: float, timed: float, places: Ints
) -> int:
    """Fill `places` with the hosts of least score, best first; how many take the load at all.

    barred (H,), or of length 0 where nobody is barred. last_s (H,): when the last VM leaves. The
    score of a host that would be in use for longer grows by up to `timed`. Ties: the earlier host.
    """
    n_best, n_fit, most = 0, 0, len(places)
    some = len(barred) > 0
    best = np.empty(most)
    opened = timed * stays_longer(end_s, now_s, now_s)  # what it is on hosts that nobody is on
    for h in range(len(score)):
        x = score[h]
        if x == np.inf or (some and barred[h]):
            continue
        n_fit += 1
        if n_best == most and x >= best[most - 1]:
            continue
        if timed > 0.0:
            last = last_s[h]
            x += opened if last <= now_s else timed * stays_longer(end_s, now_s, last)
            if n_best == most and x >= best[most - 1]:
                continue
        at = n_best if n_best < most else most - 1
        while at > 0 and best[at - 1] > x:
            places[at], best[at] = places[at - 1], best[at - 1]
            at -= 1
        places[at], best[at] = h, x
        n_best = min(n_best + 1, most)
    for i in range(n_best, most):
        places[i] = -1
    return n_fit
