"""Every model of pairs by name: ours first, then what it has to beat in the same run."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.corun import CoRuns
from evenkeel.interference.pairs.base import Facing, PairModel, Scale
from evenkeel.interference.pairs.effects import DetectorModel, EffectsModel
from evenkeel.interference.pairs.physics_traits import PhysicsTraitsModel
from evenkeel.interference.pairs.queue import QueueModel, knows_queue
from evenkeel.interference.pairs.tabular import Look, Ridge, TabularModel, Trees
from evenkeel.interference.pairs.traits import TraitsModel
from evenkeel.interference.pairs.views import CPU

PENALTIES: Final = tuple({"penalty": p} for p in (1.0, 10.0, 100.0, 1000.0))
BOOSTED: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "n_trees": n,
        "learning_rate": 0.05,
        "num_leaves": leaves,
        "min_data_in_leaf": least,
        "feature_fraction_bynode": 0.5,
    }
    for n in (150, 400)
    for leaves in (4, 15)
    for least in (3, 8)
)
FOREST: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "boosting": "rf",
        "n_trees": 300,
        "num_leaves": 63,
        "min_data_in_leaf": least,
        "feature_fraction_bynode": share,
    }
    for least in (1, 2, 5)
    for share in (0.33, 0.7)
)


def profiles(co_runs: CoRuns) -> F64:
    """(N, V + P) solo profiles of both as they are."""
    return np.column_stack([co_runs.victim_solo, co_runs.partner_solo])


def placed_profiles(co_runs: CoRuns) -> F64:
    """(N, V + P + M) the same, and where each runs."""
    return np.column_stack([profiles(co_runs), co_runs.placement])


def log_profiles(co_runs: CoRuns) -> F64:
    return np.asarray(np.log1p(np.maximum(profiles(co_runs), 0.0)))


def log_placed_profiles(co_runs: CoRuns) -> F64:
    return np.column_stack([log_profiles(co_runs), co_runs.placement])


def likeness(co_runs: CoRuns) -> F64:
    """(N, 1) correlation over features (logs) of what both use alone; 0 where not comparable."""
    if not co_runs.has_one_profile:
        return np.zeros((co_runs.n, 1))

    def centred(values: F64) -> F64:
        logs = np.nan_to_num(np.log1p(np.maximum(values, 0.0)))
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))

    a, b = centred(co_runs.victim_solo), centred(co_runs.partner_solo)
    length = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(((a * b).sum(axis=1) / np.maximum(length, 1e-9))[:, None])


def cpu_sum(co_runs: CoRuns) -> F64:
    """(N, 1) CPU of both together; stressors for the CPU where nothing else is known."""
    total = np.zeros(co_runs.n)
    for side in ("victim", "partner"):
        for name in (CPU, "cpu_stressors"):
            column = co_runs.column(side, name)
            total = total + (0.0 if column is None else np.nan_to_num(column))
    return np.asarray(total[:, None])


OURS: Final = "traits"
PHYSICAL: Final = "physics-traits"


def ours(co_runs: CoRuns, cores: float | None) -> str:
    """Name of the model that is ours on `co_runs`."""
    return PHYSICAL if cores is not None and knows_queue(co_runs) else OURS


def models(
    facing: Facing, scale: Scale, co_runs: CoRuns, cores: float | None = None
) -> dict[str, PairModel]:
    """What makes sense on `co_runs`: ours, every baseline, and those with the same inputs.

    `cores` is how many CPUs all share, None where that is not known.
    """

    def table(name: str, of: str, look: Look) -> TabularModel:
        grids = {"ridge": PENALTIES, "boosted": BOOSTED, "forest": FOREST, "line": PENALTIES[:1]}
        regressor = Trees() if of in ("boosted", "forest") else Ridge()
        return TabularModel(name, regressor, look, grids[of], facing, scale)

    found: list[PairModel] = []
    if cores is not None and knows_queue(co_runs):
        found += [PhysicsTraitsModel(facing, cores, PHYSICAL), QueueModel(cores)]
    found += [
        TraitsModel(facing, OURS),
        EffectsModel(facing, scale, is_flat=True),
        EffectsModel(facing, scale),
        table("ridge", "ridge", log_profiles),
        table("forest", "forest", profiles),
        table("boosted", "boosted", profiles),
        table("cpu-sum", "line", cpu_sum),
    ]
    if co_runs.has_one_profile:
        found.append(table("correlation", "line", likeness))
    if not np.isnan(co_runs.cpi_rise).all():
        found.append(DetectorModel(scale))
    if co_runs.placement_features:
        found += [
            table("ridge+placement", "ridge", log_placed_profiles),
            table("forest+placement", "forest", placed_profiles),
            table("boosted+placement", "boosted", placed_profiles),
        ]
    return {model.name: model for model in found}
