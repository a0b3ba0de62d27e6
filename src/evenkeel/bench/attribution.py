"""`evenkeel bench attribution`: is the right culprit named, and does confidence mean what it says?

Staged collisions (sim/collisions.py), scored as an agent scores them: simulated counters, ticks of
5 s, the window, the contention map. The truth is found by running each world again without each
suspect. Beside ours stand, in the same run: correlation of usage with the victim's loss, the
biggest user, and the rule of note 0002 with the confidence that it had before the posterior.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.control.measure import Baselines, derive
from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.envelope import Result
from evenkeel.interference.contention import ContentionMap, score_host
from evenkeel.interference.window import Window
from evenkeel.sim.collisions import CASES, ONSET_S, TICK_S, VICTIM, Collision, collision
from evenkeel.sim.hypervisor import SimHypervisor

LOOKS_S: Final = (10.0, 20.0, 40.0)
"""When it is asked who the culprit is, after the onset."""
HALF_LIFE_S: Final = 7.5
WINDOW_S: Final = 60.0
WORTH_NAMING: Final = 0.05
"""Loss from which on a culprit is asked for."""
N_BINS: Final = 5
LEAST_IN_BIN: Final = 20
OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Naming:
    """What one rule said in one look. `guilty`: who did most, all that are equals."""

    case: str
    seed: int
    after_s: float
    rule: str
    named: str
    guilty: tuple[str, ...]
    confidence: float

    @property
    def right(self) -> bool:
        return self.named in self.guilty

    @property
    def chance(self) -> float:
        """Of being right if one of the equals were the culprit, by lot: nobody can know better."""
        return self.right / len(self.guilty)


def bench_attribution(n_seeds: int, first_seed: int, report: Callable[[str], None]) -> Result:
    """Every case with `n_seeds` seeds from `first_seed` on."""
    began_s = time.monotonic()
    namings: list[Naming] = []
    for case in CASES:
        for k in range(n_seeds):
            report(f"{case}: seed {k + 1} of {n_seeds}")
            namings += look(collision(case, first_seed + k))
    by_rule: dict[str, list[Naming]] = defaultdict(list)
    for naming in namings:
        by_rule[naming.rule].append(naming)
    figures = {rule: metrics(said) for rule, said in by_rule.items()}
    return Result(
        name="attribution",
        seconds=round(time.monotonic() - began_s, 1),
        metrics=figures[OURS],
        baselines={rule: found for rule, found in figures.items() if rule != OURS},
        seed=first_seed,
        detail={
            "n_seeds": n_seeds,
            "looks_s": list(LOOKS_S),
            "reliability": {rule: reliability(said) for rule, said in by_rule.items()},
        },
    )


def look(staged: Collision) -> list[Naming]:
    """What every rule says of one collision, at each look; nothing where nobody is hurt."""
    guilty = staged.culprits()
    if not guilty:
        return []
    fleet, host_id, ids = staged.stage()
    hypervisor = SimHypervisor(fleet, host_id)
    window, before, baselines = Window.empty(WINDOW_S), None, Baselines()
    out: list[Naming] = []
    while fleet.now_s <= ONSET_S + LOOKS_S[-1]:
        now = hypervisor.observe()
        tick, baselines = derive(before, now, baselines)
        before = now
        if tick is not None:
            window = window.append(tick)
        after_s = fleet.now_s - ONSET_S
        if any(abs(after_s - at_s) < TICK_S / 2 for at_s in LOOKS_S) and tick is not None:
            found = score_host(window, tick.host, HALF_LIFE_S)
            victim = window.index_of(ids[VICTIM])
            assert victim is not None
            if found.measured[CPU_AXIS, victim] >= WORTH_NAMING:
                names = [vm.name for vm in window.vms] + [HOST_ITSELF]
                for rule, (who, confidence) in _say(found, window, victim).items():
                    named = VICTIM if who == len(names) else names[who]
                    out.append(
                        Naming(
                            staged.case,
                            staged.seed,
                            after_s,
                            rule,
                            named,
                            guilty,
                            confidence,
                        )
                    )
        fleet.advance(TICK_S)
    return out


def _say(found: ContentionMap, window: Window, victim: int) -> dict[str, tuple[int, float]]:
    """Column named (N: the host, N + 1: the victim itself) and confidence of every rule."""
    n = len(window.vms)
    assert found.evidence is not None
    ours = found.evidence.culprit[CPU_AXIS, victim, : n + 2].copy()
    ours[victim] = 0.0
    score = found.score[CPU_AXIS, victim]
    demand = np.nan_to_num(window.demand[:, :, CPU_AXIS])
    used = demand * (1.0 - np.nan_to_num(window.loss[:, :, CPU_AXIS]))
    loads = np.column_stack(
        [used, np.nan_to_num(window.background[:, CPU_AXIS]), demand[:, victim]]
    )
    along = _correlation(loads, np.nan_to_num(window.loss[:, victim, CPU_AXIS]))
    along[victim] = 0.0
    lately = loads[-2:].mean(axis=0)[: n + 1]
    lately[victim] = 0.0
    return {
        OURS: _top(ours),
        "correlation": _top(along),
        "biggest-user": _top(lately, 1.0 / max(float(lately.sum()), 1e-9)),
        "rule-0002": (int(score.argmax()), _former_confidence(found, victim)),
    }


def _top(values: F64, scale: float = 1.0) -> tuple[int, float]:
    best = int(values.argmax())
    return best, float(min(max(values[best] * scale, 0.0), 1.0))


def _correlation(loads: F64, loss: F64) -> F64:
    """Pearson correlation of each column with the loss; 0 where either stands still."""
    centred, off = loads - loads.mean(axis=0), loss - loss.mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (off**2).sum())
    none = np.zeros(loads.shape[1])
    return np.asarray(np.divide(off @ centred, norm, out=none, where=norm > 1e-12))


def _former_confidence(found: ContentionMap, victim: int) -> float:
    """Agreement of prediction and measurement times concentration of the blame."""
    predicted = float(found.predicted[CPU_AXIS, victim])
    measured = float(found.measured[CPU_AXIS, victim])
    agreement = 1.0 - abs(predicted - measured) / max(predicted, measured, 0.05)
    score = found.score[CPU_AXIS, victim]
    share = score / max(float(score.sum()), 1e-9)
    return agreement * (0.5 + 0.5 * float((share**2).sum()))


def metrics(said: list[Naming]) -> dict[str, float]:
    """Share right over all and by case and look, and how far confidence is off, as shares."""
    out = {"culprit_first": _share_right(said), "n": float(len(said))}
    bins = reliability(said)
    populated = [b for b in bins if b["n"] >= LEAST_IN_BIN]
    out["calibration.worst_bin"] = max((abs(b["gap"]) for b in populated), default=0.0)
    out["calibration.mean"] = sum(abs(b["gap"]) * b["n"] for b in bins) / max(len(said), 1)
    out["brier"] = float(np.mean([_brier(s.confidence, s.chance) for s in said]))
    for case in CASES:
        out[f"culprit_first.{case}"] = _share_right([s for s in said if s.case == case])
    for after_s in LOOKS_S:
        here = [s for s in said if s.after_s == after_s]
        out[f"culprit_first.after_{after_s:.0f}_s"] = _share_right(here)
    return {name: round(value, 4) for name, value in out.items()}


def _brier(confidence: float, chance: float) -> float:
    return chance * (1.0 - confidence) ** 2 + (1.0 - chance) * confidence**2


def _share_right(said: list[Naming]) -> float:
    return float(np.mean([s.right for s in said])) if said else 0.0


def reliability(said: list[Naming]) -> list[dict[str, float]]:
    """By stated confidence: how many, mean confidence, share right (equals: by lot), gap."""
    stated = np.array([s.confidence for s in said])
    right = np.array([s.chance for s in said])
    which = np.minimum((stated * N_BINS).astype(int), N_BINS - 1)
    rows = []
    for b in np.unique(which):
        here = which == b
        mean, share = float(stated[here].mean()), float(right[here].mean())
        rows.append(
            {
                "from": b / N_BINS,
                "n": float(here.sum()),
                "confidence": round(mean, 4),
                "right": round(share, 4),
                "gap": round(mean - share, 4),
            }
        )
    return rows
