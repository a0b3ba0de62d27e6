"""Finds a VM's vCPU cgroups and reads how long its own CPU quota held it back.

libvirt reports only that a vCPU waited (`vcpu.N.delay`), whoever made it wait. The cgroup knows
what the VM's own quota caused; the difference is what others caused. Both cgroup versions and
libvirt's layouts are understood:

    v1            ROOT/cpu[,cpuacct]/PARTITION/qemu-ID-NAME.libvirt-qemu/vcpuN
    v1, systemd   ROOT/cpu[,cpuacct]/SLICE/machine-qemu\\x2dID\\x2dNAME.scope/vcpuN
    v2            ROOT/PARTITION/qemu-ID-NAME.libvirt-qemu/vcpuN
    v2, systemd   ROOT/SLICE/machine-qemu\\x2dID\\x2dNAME.scope/libvirt/vcpuN
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_DEPTH: Final = 6
"""A custom partition may lie deeper than /machine; nobody nests them further than this."""
SHORTENED: Final = 40
"""libvirt shortens a machine name to 64 characters; nothing below this length was shortened."""
_MACHINE: Final = re.compile(
    r"^(?:machine-)?qemu-(?:embed-[0-9a-f]+-)?(?P<id>\d+)-(?P<name>.*?)(?:\.scope|\.libvirt-qemu)?$"
)
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")
_UNNAMEABLE: Final = re.compile(r"[^a-zA-Z0-9]")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where the CPU controller is mounted, and what its statistics look like."""

    root: Path
    version: int


def find_hierarchy(cgroup_root: Path) -> Hierarchy | None:
    """The CPU controller's hierarchy below `cgroup_root`, or None where there is none."""
    for name in ("cpu,cpuacct", "cpu"):
        if (cgroup_root / name / "cpu.shares").exists() or (cgroup_root / name / "tasks").exists():
            return Hierarchy(cgroup_root / name, 1)
    try:
        controllers = (cgroup_root / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return None
    return Hierarchy(cgroup_root, 2) if "cpu" in controllers else None


class MachineIndex:
    """All VMs' cgroup directories below a hierarchy, by libvirt's domain id; made in one walk."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._found: dict[int, list[tuple[str, Path]]] = {}
        self._walk(str(hierarchy.root), MAX_DEPTH)

    def find(self, domain_id: int, name: str) -> Path | None:
        """Directory that holds the VM's vcpuN directories.

        Where several libvirt daemons share the machine, ids repeat: then the name decides, and if
        that leaves a doubt, nothing is found.
        """
        candidates = self._found.get(domain_id, [])
        if len(candidates) > 1:
            wanted = _bare(name)
            candidates = [c for c in candidates if _same_name(c[0], wanted)]
        return candidates[0][1] if len(candidates) == 1 else None

    def _walk(self, directory: str, depth: int) -> None:
        try:
            entries = [e for e in os.scandir(directory) if e.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for entry in entries:
            machine = _MACHINE.match(_ESCAPED.sub(lambda m: chr(int(m[1], 16)), entry.name))
            if machine is not None:
                path = Path(entry.path)
                below = path / "libvirt"
                self._found.setdefault(int(machine["id"]), []).append(
                    (_bare(machine["name"]), below if below.is_dir() else path)
                )
            elif depth > 1:
                self._walk(entry.path, depth - 1)


def throttled_ns(hierarchy: Hierarchy, machine: Path, n_vcpus: int, whole: bool) -> int | None:
    """Time that the VM's own quotas held its vCPUs back since it started, in ns.

    `whole` adds what a quota on the VM as a whole caused. None when a directory is not there.
    """
    key, unit_ns = ("throttled_time", 1) if hierarchy.version == 1 else ("throttled_usec", 1000)
    total = 0
    directories = [f"{machine}/vcpu{k}" for k in range(n_vcpus)]
    if whole:
        directories.append(str(machine))
    for directory in directories:
        try:
            with open(f"{directory}/cpu.stat", encoding="ascii") as file:
                fields = file.read().split()
            total += int(fields[fields.index(key) + 1]) * unit_ns
        except (OSError, ValueError, IndexError):
            return None
    return total


def _same_name(found: str, wanted: str) -> bool:
    return found == wanted or (len(found) >= SHORTENED and wanted.startswith(found))


def _bare(name: str) -> str:
    """What all of libvirt's ways to fit a name into a directory name leave untouched."""
    return _UNNAMEABLE.sub("", name)
