"""Features on one footing: mean 0, spread 1 over what was learnt from; unknown is the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F64


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """`mean` and `spread` (F,) of the features; a feature that never varied counts for nothing."""

    mean: F64
    spread: F64

    @classmethod
    def of(cls, values: F64) -> Scaling:
        """From (N, F) values; NaN is left out."""
        known = ~np.isnan(values)
        n = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / n
        square = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / n
        spread = np.sqrt(square)
        return cls(mean, np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, np.inf))

    @classmethod
    def from_zero(cls, values: F64) -> Scaling:
        """From (N, F) amounts of which 0 is none at all: by root mean square, not shifted."""
        known = ~np.isnan(values)
        square = (np.where(known, values, 0.0) ** 2).sum(axis=0)
        size = np.sqrt(square / np.maximum(known.sum(axis=0), 1))
        return cls(np.zeros(values.shape[1]), np.where(size > 0, size, np.inf))

    def __call__(self, values: F64) -> F64:
        if values.shape[1] != len(self.mean):
            raise ValueError(f"{values.shape[1]} features, learnt from {len(self.mean)}")
        return np.asarray(np.nan_to_num((values - self.mean) / self.spread))
