"""What lab to build: number, size, CPUs, accelerator and where its files live."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.lab.names import MAX_GUESTS, MAX_HOSTS, MAX_LAB, LabNames


class Accel(StrEnum):
    AUTO = "auto"
    """KVM when a guest really boots with it, else TCG."""
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class LabConfig:
    """One lab. Raises ConfigInvalid for numbers that have no address.

    Parameters
    ----------
    number
        Labs with different numbers share a machine without meeting: 10.77.NUMBER.0/24.
    cpus_per_host
        Host CPUs: empty for all of this machine, one tuple for every host alike, or one per host.
    guests_per_host
        Guests that `up` boots on every host, named g1, g2, ...
    directory
        Holds `<number>/`, which `down` removes, and `build/`, which all labs share and keep.
    """

    number: int = 0
    n_hosts: int = 2
    cpus_per_host: tuple[tuple[int, ...], ...] = ()
    guests_per_host: int = 0
    accel: Accel = Accel.AUTO
    directory: Path = field(default_factory=lambda: default_directory(dict(os.environ)))

    def __post_init__(self) -> None:
        _within("lab number", self.number, 0, MAX_LAB)
        _within("number of hosts", self.n_hosts, 1, MAX_HOSTS)
        _within("number of guests", self.guests_per_host * self.n_hosts, 0, MAX_GUESTS)
        if len(self.cpus_per_host) not in (0, 1, self.n_hosts):
            raise ConfigInvalid(
                f"{len(self.cpus_per_host)} CPU lists for {self.n_hosts} hosts",
                hint="Give one list for all hosts, or one for each, as in 0-1 or 0:1.",
            )
        available = os.sched_getaffinity(0)
        for cpus in self.cpus_per_host:
            if not cpus or not available.issuperset(cpus):
                raise ConfigInvalid(
                    f"CPUs {list(cpus)} are not all among this machine's {sorted(available)}"
                )

    @property
    def names(self) -> LabNames:
        return LabNames(self.number)

    @property
    def state_dir(self) -> Path:
        return self.directory / str(self.number)

    @property
    def build_dir(self) -> Path:
        return self.directory / "build"

    def cpus(self, host: int) -> tuple[int, ...]:
        """CPUs of the host with this number (from 1)."""
        if not self.cpus_per_host:
            return tuple(sorted(os.sched_getaffinity(0)))
        return self.cpus_per_host[0 if len(self.cpus_per_host) == 1 else host - 1]


def parse_cpus_per_host(text: str) -> tuple[tuple[int, ...], ...]:
    """`"0-1"` for all hosts alike, `"0:1"` one list a host. Raises ConfigInvalid."""
    return tuple(parse_cpu_list(part) for part in text.split(":")) if text.strip() else ()


def default_number(environ: dict[str, str]) -> int:
    """$EVENKEEL_LAB, else 0. Raises ConfigInvalid."""
    text = environ.get("EVENKEEL_LAB", "0")
    if not text.isdecimal():
        raise ConfigInvalid(f"EVENKEEL_LAB is {text!r}, not a lab number", hint="0 to 254.")
    return int(text)


def default_directory(environ: dict[str, str]) -> Path:
    """$EVENKEEL_LAB_DIR, else ./.lab, as an absolute path."""
    return Path(environ.get("EVENKEEL_LAB_DIR") or ".lab").absolute()


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigInvalid(f"{what} is {value}, not in {low}..{high}", hint="")
