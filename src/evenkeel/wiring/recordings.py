"""Whatever demand is recorded in, as a `Recording`: the one way in for simulations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from evenkeel.adapters.traces import replayed
from evenkeel.adapters.traces.azure import read_arrivals, sampled
from evenkeel.adapters.traces.borrowed import borrowed
from evenkeel.adapters.traces.fleet import read_recorded
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import Recording
from evenkeel.sim.lending import made_lender

LAYOUTS: Final = "`evenkeel simulate --help` describes the layouts."


class Form(StrEnum):
    """What a file holds."""

    PLANETLAB = "planetlab"
    BITBRAINS = "bitbrains"
    AZURE = "azure"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True)
class Options:
    """What to take, and what to assume where the source does not say.

    days : PlanetLab's, all when empty; several are joined
    vcpus, memory_mib : size of every PlanetLab VM
    share, n_vms : of Azure's arrivals, by whole bursts of one tenant; None: all
    lender : whose demand Azure's VMs have; None: made-up demand
    seed : decides the sample, the pairing and what is made up
    """

    days: tuple[str, ...] = ()
    vcpus: float = 1.0
    memory_mib: float = 1024.0
    share: float | None = None
    n_vms: int | None = None
    lender: Recording | None = None
    seed: int = 1


def read_recording(paths: Sequence[Path], form: Form, options: Options | None = None) -> Recording:
    """Raises TraceInvalid with file, line or column, and what to do."""
    try:
        return _read(paths, form, options or Options())
    except TraceInvalid as error:
        hint = LAYOUTS if error.hint == TraceInvalid.default_hint else error.hint
        raise TraceInvalid(error.message, hint=hint) from error


def _read(paths: Sequence[Path], form: Form, options: Options) -> Recording:
    if form is Form.PLANETLAB:
        return replayed.planetlab(paths, options.days, options.vcpus, options.memory_mib)
    if form is Form.BITBRAINS:
        return replayed.bitbrains(paths, time.time())
    if form is Form.AZURE:
        return _azure(paths, options)
    return read_recorded(_only(paths))


def _azure(paths: Sequence[Path], options: Options) -> Recording:
    path = _only(paths)
    arrivals = sampled(read_arrivals(path), options.share, options.n_vms, options.seed)
    lender = options.lender if options.lender is not None else made_lender(options.seed)
    return borrowed(arrivals, lender, options.seed)


def _only(paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        raise TraceInvalid(f"{len(paths)} files, where one is read", hint="Give one --input.")
    return paths[0]
