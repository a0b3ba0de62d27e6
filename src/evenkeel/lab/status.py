"""What is there of a lab, as plain values: `lab status`, and what `up` and `down` report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuestStatus:
    name: str
    address: str
    uuid: str
    state: str
    answers: bool


@dataclass(frozen=True, slots=True)
class HostStatus:
    """`libvirt` is `up` or `down`; `keeper` is the pid that holds the namespaces, 0 without."""

    name: str
    address: str
    uri: str
    cpus: tuple[int, ...]
    libvirt: str
    keeper: int
    guests: tuple[GuestStatus, ...]


@dataclass(frozen=True, slots=True)
class LabStatus:
    """`state`: `up`; `unfinished` (remains of an `up` that did not end well); or `down`."""

    number: int
    state: str
    state_dir: str
    outside_address: str
    hosts: tuple[HostStatus, ...]


@dataclass(frozen=True, slots=True)
class UpReport:
    """`already` is true when the lab was there before; nothing was changed then."""

    already: bool
    seconds: float
    status: LabStatus


@dataclass(frozen=True, slots=True)
class DownReport:
    """What was removed; all zero when there was no lab."""

    processes: int
    namespaces: int
    seconds: float
