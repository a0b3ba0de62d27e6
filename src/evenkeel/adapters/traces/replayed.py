"""PlanetLab and Bitbrains as a `Recording`: the present readers' series, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.bitbrains import read_bitbrains_fleet
from evenkeel.adapters.traces.gridded import MAX_DAYS, Grid, recording_of
from evenkeel.adapters.traces.planetlab import read_planetlab
from evenkeel.domain.arrays import F32, Bools
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import Recording
from evenkeel.domain.resources import AXIS, CPU_AXIS, IOPS_AXIS, N_RESOURCES
from evenkeel.domain.trace import Trace, carried_forward

REQUEST_KIB: Final = 16.0
"""Of a disk operation, where a trace tells bytes alone; as the simulated VMs have it."""
DAY_S: Final = 86_400.0
UNKNOWN_TENANT: Final = ""
MANY_DOUBLE: Final = 0.01
"""Above this share of samples for a slot that has one already, two VMs have one name."""


def planetlab(
    paths: Sequence[Path], days: Sequence[str], vcpus: float, memory_mib: float
) -> Recording:
    """A day, or several one after the other; all VMs have the size that is stated.

    Raises TraceInvalid with file and line (or row).
    """
    if not (np.isfinite([vcpus, memory_mib]).all() and vcpus > 0 and memory_mib > 0):
        raise TraceInvalid(
            f"VMs of {vcpus:g} vCPUs and {memory_mib:g} MiB", hint="Give sizes above 0."
        )
    reading = read_planetlab(paths, tuple(dict.fromkeys(days)), unique=True)
    traces = reading.traces
    start_s = traces[0].panel.start_s
    if traces[-1].panel.start_s - start_s > MAX_DAYS * DAY_S:
        raise TraceInvalid(
            f"day {traces[-1].label} lies more than a year after {traces[0].label}",
            hint="Name the days that belong together: --day.",
        )
    ids = tuple(sorted({vm for trace in traces for vm in trace.panel.ids}))
    row = {vm: i for i, vm in enumerate(ids)}
    width = traces[0].panel.n_slots
    values = np.full((len(ids), N_RESOURCES, width * len(traces)), np.nan, np.float32)
    present = np.zeros((len(ids), width * len(traces)), dtype=bool)
    kind = dict.fromkeys(ids, "")
    for k, trace in enumerate(traces):
        rows, slots = [row[vm] for vm in trace.panel.ids], slice(k * width, (k + 1) * width)
        values[rows, CPU_AXIS, slots] = trace.panel.values * vcpus
        present[rows, slots] = True
        kind |= dict(zip(trace.panel.ids, trace.panel.kinds, strict=True))
    n = len(ids)
    grid = Grid(
        ids=ids,
        values=values,
        present=present,
        vcpus=np.full((n, 1), vcpus),
        memory_mib=np.full((n, 1), memory_mib),
        tenant=(UNKNOWN_TENANT,) * n,
        kind=tuple(kind.values()),
    )
    labels = ", ".join(trace.label for trace in traces)
    notes = _planetlab_notes(traces, vcpus, memory_mib) + flaws_note(reading.flaws)
    return recording_of(grid, f"PlanetLab {labels}", start_s, traces[0].panel.step_s, notes)


def _planetlab_notes(traces: Sequence[Trace], vcpus: float, memory_mib: float) -> tuple[str, ...]:
    notes = [
        f"Every VM is taken to have {vcpus:g} vCPUs and {memory_mib:g} MiB: PlanetLab's traces "
        "say percent of a VM's CPU, and no size.",
        "Only CPU was recorded. Memory in use, network and disk are not known and count as 0.",
    ]
    if len(traces) > 1:
        notes.append(
            f"{len(traces)} days stand one after the other as though no time lay between; "
            "a VM that a day does not have is away on that day."
        )
    return tuple(notes)


def bitbrains(paths: Sequence[Path], now_s: float) -> Recording:
    """All four resources; sizes are the trace's. Raises TraceInvalid with file and line."""
    fleet = read_bitbrains_fleet(paths, now_s)
    panel = fleet.cores.panel
    name = ", ".join(path.name for path in paths)
    n_samples = int(np.count_nonzero(np.isfinite(panel.values)))
    if fleet.flaws.get("duplicate", 0) > MANY_DOUBLE * n_samples:
        raise TraceInvalid(
            f"{name}: {fleet.flaws['duplicate']} samples are of slots that have one already: "
            "two VMs of one name, or one file twice",
            hint="Files of one name are one VM (a file a month); give each once.",
        )
    values = np.stack([fleet.demand[resource].panel.values for resource in AXIS], axis=1)
    values[:, IOPS_AXIS] /= REQUEST_KIB
    grid = Grid(
        ids=panel.ids,
        values=values,
        present=_there(panel.values),
        vcpus=panel.values.astype(np.float64),
        memory_mib=fleet.memory_mib.panel.values.astype(np.float64),
        tenant=(UNKNOWN_TENANT,) * panel.n_series,
        kind=("",) * panel.n_series,
    )
    notes: tuple[str, ...] = (
        f"Bitbrains counts no disk operations, only KB/s: {REQUEST_KIB:g} KiB are taken for one.",
        "A VM that was switched off is away, and a new VM when it comes back. "
        "A VM that was resized has its largest size all the time.",
    )
    notes += flaws_note(fleet.flaws)
    return recording_of(grid, f"Bitbrains {name}", panel.start_s, panel.step_s, notes)


def _there(cores: F32) -> Bools:
    """(N, T): on, or in a gap between two samples that are both on."""
    state = np.where(np.isnan(cores), np.nan, cores > 0).astype(np.float32)
    before, after = carried_forward(state), carried_forward(state[:, ::-1])[:, ::-1]
    return np.asarray((state == 1) | (np.isnan(state) & (before == 1) & (after == 1)))


def flaws_note(flaws: Mapping[str, int]) -> tuple[str, ...]:
    """What of the samples was not usable, as a line for the reader of a report."""
    if not flaws:
        return ()
    told = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in flaws.items())
    return (f"Samples that were not used as they stood: {told}.",)
