"""How well profiles and deviations do on generated series whose truth is known.

`python -m evenkeel.bench.profiles` prints the confusion matrix on seeds that the coefficients were
not fitted on, and those coefficients fitted again; then false alarms and delays of deviations.
"""

from __future__ import annotations

import sys
import time
from statistics import NormalDist
from typing import Final

import numpy as np
from scipy.optimize import minimize

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.profile import BEHAVIOURS, N_KNOWN
from evenkeel.forecast.base import LEVELS
from evenkeel.forecast.deviation import DeviationState, Kind, observe
from evenkeel.forecast.profile_statistics import Statistics, summarise
from evenkeel.forecast.profiles import classify, features
from evenkeel.sim.demand import labelled_panel

DAY: Final = 288
FIT_SEEDS: Final = ((1, 7 * DAY), (2, 14 * DAY))
TEST_SEED: Final = 4242


def confusion(seed: int, n_slots: int, n_each: int = 400) -> Ints:
    """Counts (4, 5): rows the truth, columns the label, the last unknown."""
    made = labelled_panel(n_each, n_slots, np.random.default_rng(seed))
    labels = classify(summarise(made.panel)).labels
    counts = np.zeros((N_KNOWN, len(BEHAVIOURS)), dtype=np.intp)
    np.add.at(counts, (made.labels, labels), 1)
    return counts


def fit(n_each: int = 400) -> list[F64]:
    """Weights of the three questions, by ridge logistic regression on the seeds for fitting."""
    sets: list[tuple[Statistics, Ints]] = []
    for seed, n_slots in FIT_SEEDS:
        made = labelled_panel(n_each, n_slots, np.random.default_rng(seed))
        sets.append((summarise(made.panel), made.labels))
    truth = np.concatenate([labels for _, labels in sets])
    weights = []
    for question in range(3):
        x = np.concatenate([features(s)[question] for s, _ in sets])
        asked = truth >= question
        weights.append(_logistic(x[asked], truth[asked] == question))
    return weights


def _logistic(x: F64, yes: Bools, ridge: float = 1e-3) -> F64:
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    sign = np.where(yes, -1.0, 1.0)

    def loss(w: F64) -> float:
        return float(np.logaddexp(0, sign * (design @ w)).mean() + ridge * np.sum(w[1:] ** 2))

    return np.asarray(minimize(loss, np.zeros(design.shape[1])).x, dtype=np.float64)


def delays(
    rng: np.random.Generator, noise: float, factor: float, noise_factor: float, n: int = 400
) -> tuple[F64, Ints, float]:
    """Slots from a change until it is raised (NaN: not in 100), its kind, false alarms a VM-day.

    Demand is 1 with Gaussian noise, forecast exactly; it changes after two days.
    """
    z = np.array([NormalDist().inv_cdf(float(q)) for q in LEVELS])
    quantiles: F32 = np.tile((1 + noise * z).astype(np.float32), (n, 1))
    state = DeviationState.fresh(n)
    delay = np.full(n, np.nan)
    kinds = np.full(n, int(Kind.NONE), dtype=np.intp)
    false_alarms = 0
    for t in range(2 * DAY + 100):
        changed = t >= 2 * DAY
        spread = noise * (noise_factor if changed else 1.0)
        level = factor if changed else 1.0
        x = np.maximum(level * (1 + spread * rng.standard_normal(n)), 0.0)
        state, out = observe(state, x, quantiles, 300.0 * t, 1e-3)
        if changed:
            new = np.isnan(delay) & (out.kind >= 0)
            delay[new] = t - 2 * DAY + 1
            kinds[new] = out.kind[new]
        else:
            false_alarms += int(out.raised.sum())
    return delay, kinds, false_alarms / (2 * n)


def main() -> None:
    say = sys.stdout.write
    for days in (14, 7, 3, 2, 1, 0.25):
        counts = confusion(TEST_SEED, int(days * DAY))
        right = np.trace(counts) / counts.sum()
        say(f"{days:g} days: {right:.3f} right\n")
        for label, row in zip(BEHAVIOURS, counts, strict=False):
            say(f"  {label.value:20}" + "".join(f"{c:6d}" for c in row) + "\n")
    for name, weights in zip(("steady", "diurnal", "burst"), fit(), strict=True):
        say(f"{name}: {np.round(weights, 2).tolist()}\n")
    week = labelled_panel(250, 7 * DAY, np.random.default_rng(5)).panel
    many = week.only(np.tile(np.arange(week.n_series), 10))
    start = time.perf_counter()
    classify(summarise(many))
    say(f"{many.n_series / (time.perf_counter() - start):.0f} series/s, a week each, one core\n")
    rng = np.random.default_rng(9)
    for noise in (0.1, 0.3):
        for name, factor, noise_factor in (("x 2", 2, 1), ("/ 2", 0.5, 1), ("noise x 3", 1, 3)):
            delay, kinds, rate = delays(rng, noise, factor, noise_factor)
            named = {k.name: round(float(np.mean(kinds == k)), 2) for k in Kind}
            middle, late = np.nanquantile(delay, [0.5, 0.95])
            say(f"noise {noise}, {name}: {middle:.0f} slots, p95 {late:.0f}; {named}; ")
            say(f"{rate:.4f} false alarms a VM-day before\n")


if __name__ == "__main__":
    main()
