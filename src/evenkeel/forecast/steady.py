"""What each VM will want for hours, from all it showed: a mean that moves slowly, and a spread.

For decisions that are made rarely and hold long, such as where a VM lives. Five-minute samples of
a VM are mostly noise around a level (PlanetLab: correlation 0.13 from one to the next, and hardly
less two hours later), so the level is the mean over past samples that halve in weight. What is
known of the VM is mixed with what is known of the fleet: a VM that was seen once may vary as much
as VMs of its level do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F64, Bools


@dataclass(frozen=True, slots=True)
class Memory:
    """Samples after which weights are halved, for the level and for the spread; how many samples
    of its own a VM's spread needs to weigh as much as the fleet's; the fleet's variance per mean
    before there is any, in shares of the VMs' size."""

    level_slots: float = 16.0
    spread_slots: float = 72.0
    own_slots: float = 6.0
    variance_per_mean: float = 0.04


def steady(recent: F64, size: F64, memory: Memory | None = None) -> tuple[F64, F64]:
    """Mean and standard deviation of the demand of N VMs in a slot to come, (N,) each.

    Parameters
    ----------
    recent : (N, n) demand of the slots so far, the newest last; NaN: not known
    size : (N,) what each may want at most, in the same unit; above 0
    """
    memory = memory or Memory()
    share = recent / size[:, None]
    is_known = np.isfinite(share)
    level, seen = _weighted(share, is_known, memory.level_slots)
    fleet = level[seen > 0].mean() if (seen > 0).any() else 0.5
    level = np.where(seen > 0, level, fleet)
    around, seen = _weighted((share - level[:, None]) ** 2, is_known, memory.spread_slots)

    # One sample by itself lies on its own level: n samples miss 1/n of the variance.
    unbiased = np.maximum(seen - 1.0, 0.0)
    own = around * seen
    # What is assumed of the fleet counts as much as one sample of everybody.
    assumed = level.sum()
    per_mean = (own.sum() + memory.variance_per_mean * assumed) / max(
        float((unbiased * level).sum() + assumed), 1e-12
    )
    weight = memory.own_slots
    variance = (own + weight * per_mean * level) / (unbiased + weight)
    variance *= 1.0 + 1.0 / np.maximum(np.minimum(seen, 2 * memory.level_slots), 1.0)
    return level * size, np.sqrt(variance) * size


def _weighted(values: F64, is_known: Bools, halved: float) -> tuple[F64, F64]:
    """Means by row, and how many samples of equal weight would tell as much."""
    n = values.shape[1]
    weights = 0.5 ** (np.arange(n)[::-1] / halved)
    total = is_known @ weights
    square = is_known @ weights**2
    known = np.where(is_known, values, 0.0)
    mean = np.divide(known @ weights, total, out=np.zeros(len(values)), where=total > 0)
    return mean, np.divide(total**2, square, out=np.zeros(len(values)), where=total > 0)
