"""How a host shares its cores, as Linux's fair scheduler does it: a fluid within each step.

Time is cut into steps (50 ms or so), all computed at once: arrays are (step, vCPU). In each
step, every vCPU is placed on the least loaded core it may run on, the least free to choose first,
the rest in rotation; each core is shared by weight (weighted max-min); idle cores then pull what
others could not serve. Over many steps this comes within a few per cent of the fair share where
the cores' sets overlap, and is exact where vCPUs share one core. What differs from a kernel: work
that is not served is lost instead of queued, and no task pays for a switch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evenkeel.domain.arrays import F64

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_EPSILON = 1e-12


def share_by_weight(wanted: F64, weight: F64, capacity: float) -> F64:
    """Weighted max-min shares of one capacity; (n, k) -> (n, k), rows are independent.

    Nobody gets more than it wants, nothing is left while somebody wants more, and who gets less
    than it wants has the same share per weight as the others of its kind.
    """
    ratio = wanted / weight
    order = np.argsort(ratio, axis=1, kind="stable")
    ratio = np.take_along_axis(ratio, order, axis=1)
    sorted_wanted = np.take_along_axis(wanted, order, axis=1)
    sorted_weight = np.take_along_axis(weight, order, axis=1)
    served_before = np.cumsum(sorted_wanted, axis=1) - sorted_wanted
    weight_left = np.cumsum(sorted_weight[:, ::-1], axis=1)[:, ::-1]
    level = (capacity - served_before) / weight_left
    limited = level < ratio
    first = np.where(limited.any(axis=1), limited.argmax(axis=1), -1)
    rows = np.arange(len(wanted))
    found = np.where(first < 0, np.inf, level[rows, first])
    return np.minimum(wanted, found[:, None] * weight)


def share_cores(wanted: F64, weight: F64, allowed: Bools, step: Ints) -> F64:
    """Core shares that vCPUs get.

    Parameters
    ----------
    wanted : (n_steps, n_vcpus) cores wanted, each in [0, 1].
    weight : (n_steps, n_vcpus) scheduler weight, > 0.
    allowed : (n_vcpus, n_cores) where a vCPU may run; at least one core each.
    step : (n_steps,) their numbers since the world began; they turn the rotation.

    Returns
    -------
    (n_steps, n_vcpus) cores got, at most `wanted`.
    """
    got = wanted.copy()
    if not wanted.size or wanted.sum(axis=1).max() <= 1.0:
        return got  # even one core could serve them all
    busy = np.flatnonzero(wanted.any(axis=0))  # sleepers would make the rotation limp
    wanted, weight, allowed = wanted[:, busy], weight[:, busy], allowed[busy]
    core_of = _place(wanted, weight, allowed, step)
    got[:, busy], idle = _share_each_core(wanted, weight, core_of, allowed.shape[1])
    got[:, busy] = _pull(wanted, got[:, busy], idle, allowed, step)
    return got


def _place(wanted: F64, weight: F64, allowed: Bools, step: Ints) -> Ints:
    """The core of each vCPU in each step."""
    n_steps, n_vcpus = wanted.shape
    n_cores = allowed.shape[1]
    rows = np.arange(n_steps)
    load_of = wanted * weight
    size = np.round(np.log2(np.maximum(load_of, _EPSILON)))
    rotation = (np.arange(n_vcpus) + step[:, None]) % n_vcpus
    freedom = np.broadcast_to(allowed.sum(axis=1), wanted.shape)
    order = np.lexsort((rotation, -size, freedom), axis=1)
    tie_break = (np.arange(n_cores) + step[:, None]) % n_cores * 1e-6
    load = np.zeros((n_steps, n_cores)) + tie_break
    core_of = np.empty((n_steps, n_vcpus), dtype=np.int64)
    for position in range(n_vcpus):
        vcpu = order[:, position]
        core = np.where(allowed[vcpu], load, np.inf).argmin(axis=1)
        core_of[rows, vcpu] = core
        load[rows, core] += load_of[rows, vcpu]
    return core_of


def _share_each_core(wanted: F64, weight: F64, core_of: Ints, n_cores: int) -> tuple[F64, F64]:
    """What each vCPU gets on its core, and what each core has left; only full cores are solved."""
    rows = np.arange(len(wanted))[:, None]
    asked = np.zeros((len(wanted), n_cores))
    np.add.at(asked, (rows, core_of), wanted)
    got = wanted.copy()
    full_step, full_core = np.nonzero(asked > 1.0)
    if len(full_step):
        here = core_of[full_step] == full_core[:, None]
        shares = share_by_weight(wanted[full_step] * here, weight[full_step], 1.0)
        step_index, vcpu_index = np.nonzero(here)
        got[full_step[step_index], vcpu_index] = shares[step_index, vcpu_index]
    return got, np.maximum(0.0, 1.0 - asked)


def _pull(wanted: F64, got: F64, idle: F64, allowed: Bools, step: Ints) -> F64:
    """What is got once idle cores have served what was left over, in rotation."""
    short = wanted - got > _EPSILON
    rows = np.nonzero(short.any(axis=1) & (idle.sum(axis=1) > _EPSILON))[0]
    if not len(rows):
        return got
    n_vcpus = wanted.shape[1]
    left, room = (wanted - got)[rows], idle[rows]
    each = np.arange(len(rows))
    for position in range(n_vcpus):
        vcpu = (step[rows] + position) % n_vcpus
        open_room = room * allowed[vcpu]
        total = open_room.sum(axis=1)
        taken = np.minimum(left[each, vcpu], total)
        room -= open_room * (taken / np.maximum(total, _EPSILON))[:, None]
        got[rows, vcpu] += taken
    return np.minimum(got, wanted)


def share_within_quota(
    wanted: F64, weight: F64, allowed: Bools, step: Ints, quota: F64, per_period: int
) -> tuple[F64, F64]:
    """Core shares of vCPUs that may run for a quota of every period only, as early as they can.

    Parameters are those of `share_cores`, and `quota` (n_vcpus,) cores on average over a period
    (may be infinite) of `per_period` steps.

    Returns
    -------
    (n_steps, n_vcpus) cores got, and the most that each had left to get.
    """
    got, limit = np.empty_like(wanted), np.empty_like(wanted)
    period, place = np.divmod(step, per_period)
    period -= period[0]
    left = np.tile(quota * per_period, (int(period[-1]) + 1, 1))
    for nth in range(per_period):
        rows = np.flatnonzero(place == nth)
        limit[rows] = np.maximum(left[period[rows]], 0.0)
        asked = np.minimum(wanted[rows], limit[rows])
        got[rows] = share_cores(asked, weight[rows], allowed, step[rows])
        left[period[rows]] -= got[rows]
    return got, limit


def split_delay(wanted: F64, got: F64, got_without_quota: F64, limit: F64) -> tuple[F64, F64]:
    """Tell apart what neighbours and what its own quota kept from each vCPU.

    All are (n_steps, n_vcpus) in cores; `limit` may be infinite. A vCPU runs, at the rate its
    neighbours leave it, until what is left of its quota is spent, and is throttled for the rest:
    with f = got / got_without_quota, it waits f (wanted - got_without_quota) for neighbours and
    (1 - f) wanted for its quota.

    Returns
    -------
    (delay by neighbours, throttled), both >= 0, together wanted - got.
    """
    lost = wanted - got
    bound = (got >= limit - 1e-9) & (lost > _EPSILON)
    fraction = got / np.maximum(got_without_quota, _EPSILON)
    throttled = np.where(bound, np.clip((1.0 - fraction) * wanted, 0.0, lost), 0.0)
    return lost - throttled, throttled
