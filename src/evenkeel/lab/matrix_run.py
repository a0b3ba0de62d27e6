"""Runs the cells of the co-run matrix on one host with one CPU and notes what came of each.

Useful work is counted in the guests and read from outside over HTTP, by this machine's clock.
Beside it stands what the agent sees: the same libvirt call, the same channel, the same `derive`.
Guests that are not in a cell are suspended. What was measured is in a file after every cell.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.guest.channels import ChannelProfiles
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.control.inside import Inside
from evenkeel.control.measure import Baselines
from evenkeel.domain.errors import LabError
from evenkeel.domain.ids import VmId
from evenkeel.lab.domain_xml import disk_path
from evenkeel.lab.guests import JOBS, Guest
from evenkeel.lab.lab import Lab
from evenkeel.lab.matrix_plan import BY_NAME, IDLE, Cell, fingerprint, guests_needed, pool_of
from evenkeel.lab.matrix_seen import Seen, watched
from evenkeel.lab.undisturbed import undisturbed

SETTLE_S: Final = 2.0
AGE_LIMIT_S: Final = 120.0
"""A guest that has a CPU to itself takes 4 s."""
HOST: Final = "h1"


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell: per member its work per second, from outside, and what the agent saw of it.

    `stolen` is the share of the CPU's time that this machine's own host took away meanwhile.
    """

    index: int
    members: tuple[str, ...]
    at_s: float
    rates: tuple[float, ...]
    seen: tuple[Seen, ...]
    stolen: float = 0.0


@dataclass(slots=True)
class Notes:
    """Measured cells in a file, a line each; one written for another plan is set aside."""

    path: Path
    plan: str
    cells: dict[int, Measured] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, plan: str) -> Notes:
        """What the file has of this plan. A last line that was cut short is measured again."""
        notes = cls(path, plan)
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and json.loads(lines[0]) != {"plan": plan}:
            path.rename(path.with_suffix(".old"))
            lines = []
        for line in lines[1:]:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                said = json.loads(line)
                seen = tuple(Seen(**one) for one in said.pop("seen"))
                members, rates = tuple(said.pop("members")), tuple(said.pop("rates"))
                cell = Measured(**said, members=members, rates=rates, seen=seen)
                notes.cells[cell.index] = cell
        whole = [{"plan": plan}, *(asdict(c) for c in notes.cells.values())]
        aside = path.with_suffix(".new")
        aside.write_text("".join(json.dumps(one) + "\n" for one in whole))
        aside.rename(path)
        return notes

    def add(self, cell: Measured) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(cell)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.cells[cell.index] = cell


class MatrixRun:
    """Measures cells on a lab that is up. Use as a context; its guests go with it."""

    def __init__(self, lab: Lab, seconds: float, report: Callable[[str], None]) -> None:
        self._lab = lab
        self._seconds = seconds
        self._report = report
        self._guests: dict[str, Guest] = {}
        self._ids: dict[str, VmId] = {}
        self._clock = SystemClock()
        host = lab.host(HOST)
        self._cpus = host.cpus
        config = AgentConfig(
            host_id=HOST,
            libvirt_uri=host.uri,
            devices_every_s=0,
            cpus=",".join(map(str, host.cpus)),
        )
        self._hypervisor = LibvirtHypervisor(config, self._clock)
        self._profiles = ChannelProfiles(self._sockets, self._clock)
        self._quiet_disk_s: dict[str, float] = {}
        self._inside: dict[str, Inside] = {}

    def boot(self, cells: tuple[Cell, ...]) -> None:
        """Start the guests that the cells need, and suspend them. Raises LabError."""
        self._lab.outweigh()
        for guest in self._lab.guests():
            guest.destroy()
        for name in guests_needed(cells):
            self._report(f"booting {name}")
            guest = self._lab.start_guest(HOST, name, pool_of(name), wait=False)
            self._fill(name, pool_of(name).disk_mib)
            guest.wait_ready(120)
            self._guests[name] = guest
            self._ids[name] = VmId(guest.uuid)
            self._report(f"ageing {name}")
            age(guest, AGE_LIMIT_S)

    def _fill(self, name: str, disk_mib: int) -> None:
        """Give its disk all its room now: the first write to a block costs more than the next."""
        with disk_path(self._lab.state_dir, name).open("r+b") as disk:
            os.posix_fallocate(disk.fileno(), 0, disk_mib << 20)

    def close(self) -> None:
        for guest in self._guests.values():
            with contextlib.suppress(LabError):
                guest.destroy()
        self._profiles.close()
        self._hypervisor.close()

    def measure(self, index: int, cell: Cell) -> Measured:
        """Run one cell, again if this machine was elsewhere. Raises LabError."""

        def again(stolen: float) -> None:
            self._report(f"{' + '.join(cell.members)}: {stolen:.0%} of the CPU was taken away")

        (rates, seen, baselines), stolen = undisturbed(
            partial(self._once, cell), frozenset(self._cpus), again
        )
        if len(cell.members) == 1:  # alone: what it shows now is what is normal for it
            self._remember(cell.members[0], self._ids[cell.guests[0]], baselines)
        return Measured(index, cell.members, time.time(), rates, seen, round(stolen, 4))

    def _once(self, cell: Cell) -> tuple[tuple[float, ...], tuple[Seen, ...], Baselines]:
        """Work per second of each member, what the agent sees, and what it has learnt."""
        guests = [self._guests[name] for name in cell.guests]
        ids = [self._ids[name] for name in cell.guests]
        try:
            for guest, member in zip(guests, cell.members, strict=True):
                guest.resume()
                guest.set_load(**BY_NAME[member].load)
            time.sleep(SETTLE_S)
            before = [_work(guest) for guest in guests]
            seen, baselines = watched(
                self._hypervisor, self._profiles, ids, self._seconds, self._baselines(cell, ids)
            )
            after = [_work(guest) for guest in guests]
        finally:
            for guest in guests:
                with contextlib.suppress(LabError):
                    guest.set_load(**{k: v for k, v in IDLE.items() if k != "ws"})
                    guest.suspend()
        rates = tuple((b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(before, after, strict=True))
        return rates, seen, baselines

    def _baselines(self, cell: Cell, ids: list[VmId]) -> Baselines:
        """What the agent would know of these workloads, had each of them a VM of its own."""
        members = dict(zip(ids, cell.members, strict=True))
        disk, inside = self._quiet_disk_s, self._inside
        return Baselines(
            quiet_disk_s={vm: disk[m] for vm, m in members.items() if m in disk},
            inside={
                # No VM has this incarnation: what it says first is only a beginning.
                vm: replace(inside[m], incarnation=-1)
                for vm, m in members.items()
                if m in inside
            },
        )

    def _remember(self, member: str, vm: VmId, baselines: Baselines) -> None:
        if vm in baselines.quiet_disk_s:
            self._quiet_disk_s[member] = baselines.quiet_disk_s[vm]
        if vm in baselines.inside:
            self._inside[member] = baselines.inside[vm]

    def _sockets(self) -> dict[VmId, tuple[int, str]]:
        """The guests' channels as they are seen from outside the host."""
        root = self._lab.host_root(HOST)
        return {
            vm: (incarnation, str(root / path.lstrip("/")))
            for vm, (incarnation, path) in self._hypervisor.profilers().items()
        }


def run(
    lab: Lab,
    cells: tuple[Cell, ...],
    seconds: float,
    notes_path: Path,
    report: Callable[[str], None],
    on_cell: Callable[[int, int], None],
) -> list[Measured]:
    """Measure what is not in the notes yet; returns all cells in order. Raises LabError."""
    notes = Notes.open(notes_path, fingerprint(cells, seconds))
    on_cell(len(notes.cells), len(cells))
    if len(notes.cells) < len(cells):
        matrix = MatrixRun(lab, seconds, report)
        try:
            matrix.boot(cells)
            for index, cell in enumerate(cells):
                if index not in notes.cells:
                    report(" + ".join(cell.members))
                    notes.add(matrix.measure(index, cell))
                    on_cell(len(notes.cells), len(cells))
        finally:
            matrix.close()
    return [notes.cells[i] for i in range(len(cells))]


def age(guest: Guest, limit_s: float) -> None:
    """Let it read as much from its disk as fills its memory, and suspend it.

    The memory of a guest just booted is free: what it is seen to use is less than ever after it
    has read files, and it reads without having to reclaim. Only what the cache lacks is read from
    the disk, so a guest that has read its memory's size has filled it. Raises LabError.
    """
    memory = pool_of(guest.name).memory_mib << 20
    guest.set_load(**IDLE | {"cpu": 100, "job": JOBS.index("cached")})
    deadline_s = time.monotonic() + limit_s
    while (has_read := guest.disk_read_bytes()) < memory:
        if time.monotonic() > deadline_s:
            raise LabError(
                f"guest {guest.name} has read {has_read >> 20} of {memory >> 20} MiB"
                f" from its disk in {limit_s:.0f} s",
                hint="Does its CPU do something else? Stop that, or give the lab another CPU.",
            )
        time.sleep(0.2)
    guest.set_load(**IDLE)
    guest.suspend()


@contextlib.contextmanager
def away_from(cpus: tuple[int, ...]) -> Iterator[None]:
    """Keep this process off the host's CPUs, where there are others, and ahead of what is there:
    it is the other end of the guests' streams."""
    mine, niceness = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, (mine - set(cpus)) or mine)
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _work(guest: Guest) -> tuple[float, int]:
    """Instant (this machine's clock) and units of work done."""
    asked_s = time.monotonic()
    stats: dict[str, Any] = guest.stats()
    return (asked_s + time.monotonic()) / 2, int(stats["ticks"])
