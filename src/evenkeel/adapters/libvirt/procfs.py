"""What the host itself tells about its CPUs, memory, pressure and uplink, through /proc and /sys.

Everything here is best effort: what cannot be read is NaN or None, never an error.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.host import NumaCell

NAN: Final = math.nan
_NS_PER_JIFFY: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Columns: user nice system idle iowait irq softirq steal."""
_ROUTE_UP: Final = 0x1
PRESSURES: Final = ("cpu", "memory", "io")


def cpu_busy_ns(cpus: frozenset[int], stat: Path = Path("/proc/stat")) -> int | None:
    """Time that `cpus` together were not idle since boot, guests included, in ns."""
    times = _cpu_times(cpus, stat)
    return None if times is None else (sum(times) - times[_IDLE] - times[_IOWAIT]) * _NS_PER_JIFFY


def cpu_stolen_ns(cpus: frozenset[int], stat: Path = Path("/proc/stat")) -> int | None:
    """Time since boot that the host of this machine, a VM, gave to others than `cpus`, in ns."""
    times = _cpu_times(cpus, stat)
    return None if times is None else times[_STEAL] * _NS_PER_JIFFY


def _cpu_times(cpus: frozenset[int], stat: Path) -> list[int] | None:
    """Jiffies of `cpus` together; guest time is within user and nice."""
    try:
        text = stat.read_bytes()
    except OSError:
        return None
    found = []
    for line in text.splitlines()[1:]:
        if not line.startswith(b"cpu"):
            break
        name, *fields = line.split()
        if int(name[3:]) in cpus:
            found.append([int(field) for field in fields[: _STEAL + 1]])
    return [sum(of_one) for of_one in zip(*found, strict=True)] if found else None


def memory_mib(meminfo: Path = Path("/proc/meminfo")) -> tuple[float, float]:
    """Total and used (not available to a new process) memory of the host, in MiB."""
    total = available = NAN
    try:
        with meminfo.open(encoding="ascii") as file:
            for line in file:
                if line.startswith("MemTotal:"):
                    total = int(line.split()[1]) / 1024
                elif line.startswith("MemAvailable:"):
                    available = int(line.split()[1]) / 1024
                    break
    except (OSError, ValueError, IndexError):
        return NAN, NAN
    return total, total - available


def pressure(resource: str, root: Path = Path("/proc/pressure")) -> float:
    """Share of the last 10 s in which some task waited for `resource`, in [0, 1]."""
    try:
        first = (root / resource).read_bytes().split(b"\n", 1)[0]
        name, _, value = first.split()[1].partition(b"=")
        return float(value) / 100 if first.startswith(b"some") and name == b"avg10" else NAN
    except (OSError, ValueError, IndexError):
        return NAN


def uplink_mbit_s(
    routes: Path = Path("/proc/net/route"), links: Path = Path("/sys/class/net")
) -> float | None:
    """Speed of the link that the default route leaves by, or of the fastest port of its bridge."""
    try:
        lines = [line.split() for line in routes.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return None
    for fields in lines:
        if len(fields) > 3 and fields[1] == "00000000" and int(fields[3], 16) & _ROUTE_UP:
            link = links / fields[0]
            ports = sorted((link / "brif").glob("*"))
            speeds = [_speed(links / port.name) for port in ports] or [_speed(link)]
            return max((s for s in speeds if s), default=None)
    return None


def _speed(link: Path) -> float | None:
    try:
        speed = float((link / "speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return speed if speed > 0 else None


def numa_cells(
    cpus: frozenset[int], root: Path = Path("/sys/devices/system/node")
) -> tuple[NumaCell, ...]:
    """Cells with some of `cpus`, and their memory; none where there are fewer than two."""
    cells = []
    try:
        for node in sorted(root.glob("node[0-9]*"), key=lambda path: int(path.name[4:])):
            mine = cpus.intersection(parse_cpu_list((node / "cpulist").read_text()))
            for line in (node / "meminfo").read_text().splitlines():
                if "MemTotal:" in line and mine:
                    cells.append(NumaCell(tuple(sorted(mine)), int(line.split()[-2]) / 1024))
    except (OSError, ValueError, IndexError, EvenkeelError):
        return ()
    return tuple(cells) if len(cells) > 1 else ()
