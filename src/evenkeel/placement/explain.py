"""Choices and refusals in words, for people: ten thousand hosts in a few lines, by reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.placement import (
    LargerThanAnyHost,
    Newcomer,
    NoHostFits,
    Option,
    Reason,
    Refused,
)
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, SPECS
from evenkeel.placement.fleet import Chance
from evenkeel.placement.kernels import (
    CLOSED,
    DEVIATION,
    I8,
    MEAN,
    PROMISED,
    SHORT,
    TOO_SMALL,
    VARIANCE,
)
from evenkeel.placement.rules import Bar
from evenkeel.placement.shortfall import Totals, needed
from evenkeel.placement.slices import Load, Slices

N_EXAMPLES: Final = 3


def why(options: Sequence[Option], n_fit: int, n_hosts: int) -> str:
    """Why the first of the options was chosen."""
    best = options[0]
    where = "" if best.cell < 0 else f", cell {best.cell}"
    said = f"{n_fit} of {n_hosts} hosts take it; on {best.host}{where} "
    if best.contention < 1e-4:
        said += "nobody is expected to lose anything"
    else:
        said += f"all together are expected to lose {100 * best.contention:.2f} % of a host more"
    if len(options) == 1 or options[1].contention > best.contention + 1e-6:
        return said + ", less than anywhere else."
    return said + ", and it fits more tightly than where that is as little."


def refusal(
    slices: Slices, vm: Newcomer, load: Load, code: I8, bars: Sequence[Bar], z: float
) -> Refused:
    """code (H,): what stands in the way on each host by itself; bars: what rules close."""
    reasons = _by_reason(slices, code, bars)
    n_hosts = slices.layout.n_hosts
    if n_hosts == 0:
        return Refused(
            vm.vm, NoHostFits.code, "the fleet has no host", "Start an agent on a host, or wait."
        )
    if ((code >= TOO_SMALL) & (code < SHORT)).all():
        most = slices.layout.capacity.max(axis=0)
        return Refused(
            vm.vm,
            LargerThanAnyHost.code,
            f"VM {vm.vm!r} is larger than any of {n_hosts} hosts even when it is empty",
            f"The largest have {most[CPU_AXIS]:g} cores, {most[MEMORY_AXIS]:g} MiB in one piece.",
            reasons,
        )
    return Refused(
        vm.vm,
        NoHostFits.code,
        f"none of {n_hosts} hosts takes VM {vm.vm!r}: "
        + "; ".join(f"{reason.n_hosts} {reason.text}" for reason in reasons),
        _hint(slices, reasons),
        reasons,
    )


def _by_reason(slices: Slices, code: I8, bars: Sequence[Bar]) -> tuple[Reason, ...]:
    """Every host once: closed, else too small, else the first rule, else short of something."""
    left = np.ones(len(code), dtype=bool)
    out = []

    def claim(name: str, text: str, hosts: Bools) -> None:
        mine = np.flatnonzero(hosts & left)
        if len(mine):
            left[mine] = False
            ids = tuple(slices.layout.hosts.ids[h] for h in mine[:N_EXAMPLES].tolist())
            out.append(Reason(name, text, len(mine), ids))

    claim("closed", "are in maintenance, silent or not to be changed", code == CLOSED)
    for r, resource in enumerate(AXIS):
        text = f"are too small in {SPECS[resource].label}"
        claim(f"too_small_{resource.value}", text, code == TOO_SMALL + r)
    for bar in bars:
        claim(bar.code, f"are closed to it: {bar.text}", bar.hosts)
    for r, resource in enumerate(AXIS):
        text = f"have too little {SPECS[resource].label} left"
        claim(f"short_{resource.value}", text, code == SHORT + r)
    return tuple(sorted(out, key=lambda reason: -reason.n_hosts))


def _hint(slices: Slices, reasons: Sequence[Reason]) -> str:
    if not any(reason.code.startswith("short") for reason in reasons):
        return "Change its rules, or open hosts."
    left = room_left(slices)
    best = int(np.argmax(_smallest_share(left, slices.layout.capacity) * _is_open(slices)))
    host = slices.layout.hosts.ids[int(np.searchsorted(slices.layout.first, best, "right")) - 1]
    return (
        f"The roomiest open host, {host}, has {left[best, CPU_AXIS]:.2f} cores and "
        f"{left[best, MEMORY_AXIS]:.0f} MiB left."
    )


def room_left(slices: Slices) -> F64:
    """(S, R) what a VM that always wants the same could still have."""
    held = slices.sums[:, :, PROMISED]
    chance: Chance = slices.chance
    totals = Totals(held[..., MEAN], held[..., VARIANCE], held[..., DEVIATION])
    need = needed(totals, chance.correlation, chance.epsilon)
    return np.maximum(slices.layout.capacity - slices.reserved - need, 0.0)


def _smallest_share(left: F64, capacity: F64) -> F64:
    known = np.isfinite(capacity) & (capacity > 0)
    return np.asarray(
        np.where(known, left / np.where(known, capacity, 1.0), 1.0)[:, [CPU_AXIS, MEMORY_AXIS]].min(
            axis=1
        )
    )


def _is_open(slices: Slices) -> Bools:
    return np.repeat(slices.is_open, np.diff(slices.layout.first))
