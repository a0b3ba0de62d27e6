"""What a VM's own profiler says, as a loss: the share of its work that it did not get done.

How fast a VM works is one of two speeds, both independent of how much it has to do:

- operations per second spent in operations, where the application times them; when it does more of
  them than usual, longer times are put down to its own queue as far as the rate rose;
- else work per core that it wants (run + delay): assumes that a unit of work costs the same CPU.

`inside_loss` = 1 - speed / quiet speed. The quiet speed is what the VM shows when it is not
contended: learnt while nothing that the host measures is lost and the speed is within its usual
spread, at once while no other VM wants anything, quickly when the VM is faster than ever. A
speed below that only lowers it with `HALF_LIFE_S`, so that a loss outlasts a short contention; an
application that turns slow for good is believed to be hurt until that has become its norm.

A VM speaks for itself alone: nothing here depends on what another VM says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, NET_AXIS
from evenkeel.domain.sample import Flaw, GuestReading, GuestReport, HostCounters

ENOUGH: Final = 5
"""Speeds seen before the quiet one is believed."""
CALM_LOSS: Final = 0.02
"""Below this the host measures no loss worth the name."""
IDLE_SHARE: Final = 0.05
"""Of the host's cores: if the other VMs together want less, nobody contends."""
IDLE_IOPS: Final = 5.0
IDLE_MBIT_S: Final = 1.0
BAND: Final = 3.0
LEAST_SPREAD: Final = 0.01
STEP: Final = 0.05
LONELY_STEP: Final = 0.2
RISE: Final = 0.3
HALF_LIFE_S: Final = 900.0
"""A quiet speed that is not reached any more halves in this time."""
LEAST_CORES: Final = 0.02
"""A VM that wants less CPU than this has no work per core to speak of."""
SILENT_S: Final = 10.0
MOST: Final = 0.999


@dataclass(frozen=True, slots=True)
class Quiet:
    """A speed when nobody is in the way: mean, mean deviation, and how often it was seen."""

    mean: float = 0.0
    spread: float = 0.0
    n: int = 0

    def learn(self, speed: float, is_calm: bool, is_alone: bool, dt_s: float = 1.0) -> Quiet:
        """The same after one more `speed`, that of `dt_s` seconds."""
        off = speed - self.mean
        if self.n < ENOUGH:
            hurts = off < 0 and self.n > 0 and not (is_calm or is_alone)
            mean = self.mean + (0.0 if hurts else off / (self.n + 1))
            spread = self.spread + (abs(speed - mean) - self.spread) / (self.n + 1)
            return Quiet(mean, spread, self.n + 1)
        band = BAND * max(self.spread, LEAST_SPREAD * self.mean)
        if is_alone:
            step = LONELY_STEP
        elif off > band:
            return replace(self, mean=self.mean + RISE * off)
        elif off < -band or not is_calm:
            faded = 0.5 ** (dt_s / HALF_LIFE_S)
            return self if off >= 0 else replace(self, mean=self.mean * faded)
        else:
            step = STEP
        spread = self.spread + step * (min(abs(off), band) - self.spread)
        return Quiet(self.mean + step * off, spread, self.n)

    def lost(self, speed: float) -> float:
        """Share of the quiet speed that is missing, in [0, 1); NaN while it is not known."""
        if self.n < ENOUGH or self.mean <= 0:
            return float("nan")
        return min(max(0.0, 1.0 - speed / self.mean), MOST)


@dataclass(frozen=True, slots=True)
class Inside:
    """What is remembered of a VM whose profiler spoke: its last report and its quiet speeds."""

    incarnation: int
    last: GuestReport
    heard_s: float
    per_core: Quiet = Quiet()
    operations: Quiet = Quiet()
    ops_per_s: Quiet = Quiet()


def inside_loss(
    now: HostCounters,
    demand: F64,
    loss: F64,
    readings: Mapping[VmId, GuestReading],
    known: Mapping[VmId, Inside],
    flaws: list[set[Flaw]],
) -> tuple[F64 | None, dict[VmId, Inside]]:
    """(N,) share of work not done, NaN where not known; None when no profiler ever spoke.

    `demand`, `loss` (N, R) are what the host measured in the same tick, `readings` what came
    since the last one, `known` what was remembered. Adds to `flaws` what was wrong.
    """
    if not readings and not known:
        return None, {}
    out = np.full(len(now.vms), np.nan)
    memory: dict[VmId, Inside] = {}
    is_alone = _alone(demand, len(now.host.cpus))
    for i, counters in enumerate(now.vms):
        reading, before = readings.get(counters.vm.id), known.get(counters.vm.id)
        if reading is not None:
            flaws[i] |= reading.flaws
        if reading is None or reading.report is None:
            if before is not None:
                memory[counters.vm.id] = before
                if now.monotonic_s - before.heard_s > SILENT_S:
                    flaws[i].add(Flaw.PROFILER_SILENT)
            continue
        report = reading.report
        if before is None:
            memory[counters.vm.id] = Inside(counters.incarnation, report, reading.monotonic_s)
            continue
        after = replace(
            before, incarnation=counters.incarnation, last=report, heard_s=reading.monotonic_s
        )
        if before.incarnation == counters.incarnation:
            if _restarted(before.last, report):
                flaws[i].add(Flaw.PROFILER_RESET)
            else:
                is_calm = not np.nanmax(loss[i], initial=0.0) > CALM_LOSS
                cores = float(demand[i, CPU_AXIS])
                out[i], after = _judge(before.last, after, cores, is_calm, bool(is_alone[i]))
        memory[counters.vm.id] = after
    return out, memory


def _alone(demand: F64, n_cpus: int) -> Bools:
    """(N,) no other VM wants anything to speak of; a VM of unknown demand may want a lot."""
    alone = np.ones(len(demand), dtype=bool)
    limits = ((CPU_AXIS, IDLE_SHARE * n_cpus), (IOPS_AXIS, IDLE_IOPS), (NET_AXIS, IDLE_MBIT_S))
    for axis, limit in limits:
        unknown, wanted = np.isnan(demand[:, axis]), np.nan_to_num(demand[:, axis])
        alone &= (wanted.sum() - wanted < limit) & (unknown.sum() - unknown == 0)
    return alone


def _restarted(before: GuestReport, now: GuestReport) -> bool:
    """A counter or the clock is lower than it was: the profiler, or the VM, started anew."""
    if now.guest_s <= before.guest_s:
        return True
    counters = ((before.work, now.work), (before.ops, now.ops), (before.op_ms, now.op_ms))
    return any(old is not None and (new is None or new < old) for old, new in counters)


def _judge(
    last: GuestReport, state: Inside, cores: float, is_calm: bool, is_alone: bool
) -> tuple[float, Inside]:
    """Loss in the interval from `last` to the state's own last report, and the state after it."""
    report = state.last
    dt_s = report.guest_s - last.guest_s
    if report.ops is not None and report.op_ms is not None:
        n, ms = report.ops - (last.ops or 0.0), report.op_ms - (last.op_ms or 0.0)
        if n > 0 and ms > 0:
            rate = n / dt_s
            usual = state.ops_per_s
            surge = rate / usual.mean if usual.n >= ENOUGH and usual.mean > 0 else 1.0
            speed = 1e3 * n / ms * max(1.0, surge)
            lost = state.operations.lost(speed)
            calm_rate = (
                usual.learn(rate, is_calm, is_alone, dt_s) if is_calm or usual.n == 0 else usual
            )
            operations = state.operations.learn(speed, is_calm, is_alone, dt_s)
            return lost, replace(state, operations=operations, ops_per_s=calm_rate)
    elif report.work is not None and cores > LEAST_CORES:
        speed = (report.work - (last.work or 0.0)) / dt_s / cores
        lost = state.per_core.lost(speed)
        return lost, replace(state, per_core=state.per_core.learn(speed, is_calm, is_alone, dt_s))
    return float("nan"), state
