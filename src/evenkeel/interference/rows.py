"""Joint demand of a host's VMs in rows with weights: the ticks of a window, or what may come.

Scores are computed from rows and know no difference. Rows ahead take each VM's demand from its
forecast quantiles and who rises together with whom from the window (the Schaake shuffle: Clark et
al. 2004, doi:10.1175/1525-7541(2004)005<0243:TSSAMF>2.0.CO;2), so nothing is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.vm import Vm
from evenkeel.interference.window import Window

N_SCENARIOS: Final = 16
U64 = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """`demand` `held` `loss` (T, N, R): wanted, held back by the VM's own limits, share lost;
    `background` (T, R), `weights` (T,) that add up to 1, `norm` (N, R) and `host_norm` (R,) what
    is usual. NaN: not known."""

    vms: tuple[Vm, ...]
    demand: F64
    held: F64
    loss: F64
    background: F64
    weights: F64
    norm: F64
    host_norm: F64


def present(window: Window, half_life_s: float) -> Rows:
    """The window's ticks, weighted by recency."""
    return Rows(
        vms=window.vms,
        demand=window.demand,
        held=window.self_limited,
        loss=window.loss,
        background=window.background,
        weights=window.weights(half_life_s),
        norm=window.norm(),
        host_norm=window.host_norm(),
    )


def ahead(quantiles: F32 | F64, window: Window, half_life_s: float) -> Rows:
    """`N_SCENARIOS` rows of what the window's VMs may want at one time ahead, all as likely.

    quantiles (N, R, Q) in the order of `window.vms`; a VM without any keeps the demand it had
    last. Losses that are measured, and the host's own load, are expected to stay what they are.
    """
    n_vms = len(window.vms)
    weights = window.weights(half_life_s)
    if not n_vms or not len(weights):
        return present(window, half_life_s)
    demand = scenarios(quantiles, levels_like(window.demand, N_SCENARIOS))
    latest = np.nan_to_num(window.demand[-1])
    demand = np.where(np.isnan(demand), latest[None], demand)
    shape = (N_SCENARIOS, *latest.shape)
    loss = np.einsum("t,tnr->nr", weights, np.nan_to_num(window.loss))
    background = np.einsum("t,tr->r", weights, np.nan_to_num(window.background))
    return Rows(
        vms=window.vms,
        demand=demand,
        held=np.zeros(shape),
        loss=np.broadcast_to(loss, shape),
        background=np.broadcast_to(background, (N_SCENARIOS, len(background))),
        weights=np.full(N_SCENARIOS, 1.0 / N_SCENARIOS),
        norm=window.norm(),
        host_norm=window.host_norm(),
    )


def scenarios(quantiles: F32 | F64, levels: F64) -> F64:
    """(S, N, R) demand at `levels` (S, N, R) of each one's quantiles (N, R, Q).

    Linear between quantiles and flat beyond the outermost; NaN where a quantile is.
    """
    told = np.asarray(quantiles, dtype=np.float64)
    at = np.clip(np.searchsorted(QUANTILES, levels), 1, len(QUANTILES) - 1)
    left, right = np.array(QUANTILES)[at - 1], np.array(QUANTILES)[at]
    part = np.clip((levels - left) / (right - left), 0.0, 1.0)
    spread_out = np.broadcast_to(told, (*levels.shape, told.shape[-1]))
    low = np.take_along_axis(spread_out, at[..., None] - 1, -1)[..., 0]
    high = np.take_along_axis(spread_out, at[..., None], -1)[..., 0]
    return np.asarray(low + (high - low) * part, dtype=np.float64)


def levels_like(demand: F64, n_scenarios: int) -> F64:
    """(S, N, R) levels in (0, 1): each column takes every stratum once, in the order that the
    newest rows of `demand` (T, N, R) have there. Ties, and columns with gaps, are ordered by a
    hash of their place, so that VMs without a common history come out independent.
    """
    newest = demand[-n_scenarios:]
    key = newest[np.arange(n_scenarios) % len(newest)]
    key = np.where(np.isnan(key).any(axis=0), 0.0, key)
    order = np.lexsort((_hash(key.shape), key), axis=0)
    rank = np.empty_like(order)
    strata = np.arange(n_scenarios).reshape(-1, 1, 1)
    np.put_along_axis(rank, order, np.broadcast_to(strata, order.shape), axis=0)
    return np.asarray((rank + 0.5) / n_scenarios, dtype=np.float64)


def _hash(shape: tuple[int, ...]) -> U64:
    """A number for each place of an array, without pattern (splitmix64: Steele et al. 2014)."""
    z = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).reshape(shape)
