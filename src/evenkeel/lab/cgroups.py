"""The lab's cgroups: where its processes live, what CPUs they get, and how `down` finds them.

Version 1 has one tree per controller, version 2 one for all; a machine may have both ("unified"
beside version 1). The lab makes `evenkeel-lab-K/hN` in each tree. In version 2 only leaves may
hold processes: a host's daemons live in `hN/daemons`, its guests where libvirt puts them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evenkeel.domain.errors import LabError

KEEPER: Final = "evenkeel-lab-keeper"
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_SHARES: Final = {"cpu.shares": "4096", "cpu.weight": "400"}
"""The lab outweighs whatever else runs on the machine (default 1024 and 100): steadier figures."""
_MOST_SHARES: Final = {"cpu.shares": "262144", "cpu.weight": "10000"}
_V1_CONTROLLERS: Final = {"cpu", "cpuacct", "cpuset", "memory", "blkio", "devices", "freezer"} | {
    "pids",
    "net_cls",
    "net_prio",
    "perf_event",
    "hugetlb",
}
_DELEGATED: Final = ("cpuset", "cpu", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Tree:
    """One mounted cgroup hierarchy. `controllers` as in its mount options; version 2 has none."""

    root: Path
    controllers: tuple[str, ...]
    is_v2: bool

    @property
    def mount_spec(self) -> str:
        """`DIRECTORY=CONTROLLERS`, as the host's first process mounts it."""
        return f"{self.root.name}={','.join(self.controllers)}"


def parse_trees(mounts: str) -> tuple[Tree, ...]:
    """Cgroup trees under /sys/fs/cgroup from the text of /proc/mounts; named ones are left out."""
    trees = []
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        root = Path(where)
        if not root.is_relative_to(_CGROUP_ROOT) or kind not in ("cgroup", "cgroup2"):
            continue
        if kind == "cgroup2":
            trees.append(Tree(root, (), is_v2=True))
            continue
        known = tuple(o for o in options.split(",") if o in _V1_CONTROLLERS)
        if known:
            trees.append(Tree(root, known, is_v2=False))
    return tuple(dict.fromkeys(trees))


class LabCgroups:
    """The cgroups of one lab in every tree of this machine."""

    def __init__(self, name: str, trees: tuple[Tree, ...] | None = None) -> None:
        if trees is None:
            trees = parse_trees(Path("/proc/mounts").read_text())
        self._name = name
        self._trees = trees
        self._pure_v2 = all(tree.is_v2 for tree in trees)

    @property
    def mounts(self) -> str:
        """What a host's first process is to mount: `v2`, or one spec per tree."""
        return "v2" if self._pure_v2 else " ".join(tree.mount_spec for tree in self._trees)

    def _dirs(self, host: str = "") -> list[Path]:
        return [tree.root / self._name / host for tree in self._trees]

    def exists(self) -> bool:
        return any(directory.exists() for directory in self._dirs())

    def hosts(self) -> list[str]:
        """Names of the hosts that have a cgroup, whether they run or not."""
        found = {p.name for d in self._dirs() if d.is_dir() for p in d.glob("h[0-9]*")}
        return sorted(found, key=lambda name: (len(name), name))

    def create(self, cpus_by_host: dict[str, tuple[int, ...]]) -> None:
        """Make the lab's and the hosts' cgroups. Raises LabError when the machine allows none."""
        if not self._trees:
            raise LabError("no cgroups are mounted under /sys/fs/cgroup")
        try:
            for tree in self._trees:
                self._create_in(tree, cpus_by_host)
        except OSError as error:
            raise LabError(f"cannot make the lab's cgroups: {error}") from error

    def outweigh(self) -> None:
        """From now on the lab's CPUs are its own as far as weights can make them: to measure."""
        for directory in self._dirs():
            for name, value in _MOST_SHARES.items():
                if (directory / name).exists():
                    (directory / name).write_text(value)

    def _create_in(self, tree: Tree, cpus_by_host: dict[str, tuple[int, ...]]) -> None:
        lab = tree.root / self._name
        if self._pure_v2:
            _delegate(tree.root)
        lab.mkdir(exist_ok=True)
        if "cpuset" in tree.controllers:
            for name in ("cpuset.cpus", "cpuset.mems"):
                (lab / name).write_text((tree.root / name).read_text())
        for name, value in _SHARES.items():
            if (lab / name).exists():
                (lab / name).write_text(value)
        if self._pure_v2:
            _delegate(lab)
        for host, cpus in cpus_by_host.items():
            (lab / host).mkdir()
            if (lab / host / "cpuset.cpus").exists():
                (lab / host / "cpuset.cpus").write_text(",".join(map(str, cpus)))
                if not tree.is_v2:
                    (lab / host / "cpuset.mems").write_text((lab / "cpuset.mems").read_text())
            elif self._pure_v2:
                raise LabError("the cpuset controller is not available in cgroup version 2 here")

    def cpus(self, host: str) -> str:
        """The host's CPU list as the kernel has it, such as `0-1`."""
        for directory in self._dirs(host):
            with contextlib.suppress(OSError):
                return (directory / "cpuset.cpus").read_text().strip()
        return ""

    def join_files(self, host: str, *, first: bool = False) -> list[str]:
        """Files that a process writes its pid to, to become part of the host.

        The host's first process goes into the host's own cgroup, which its cgroup namespace
        then takes as root; in version 2 it moves on to the leaf by itself.
        """
        leaf = "daemons" if self._pure_v2 and not first else ""
        return [str(directory / leaf / "cgroup.procs") for directory in self._dirs(host)]

    def pids(self, host: str = "") -> set[int]:
        """Every process in the lab, or in one of its hosts, guests included."""
        found: set[int] = set()
        for directory in self._dirs(host):
            for parent, _, files in os.walk(directory):
                if "cgroup.procs" in files:
                    with contextlib.suppress(OSError):
                        found.update(map(int, Path(parent, "cgroup.procs").read_text().split()))
        return found - {os.getpid(), 0}

    def keeper(self, host: str) -> int | None:
        """The process that holds the host's namespaces, None when there is none."""
        return next((pid for pid in self.pids(host) if argv0(pid) == KEEPER), None)

    def remove(self, timeout_s: float = 10.0) -> int:
        """Kill what is left in the lab's cgroups and remove them; returns how many it killed.

        Raises LabError when a process or a cgroup will not go.
        """
        deadline = time.monotonic() + timeout_s
        killed: set[int] = set()
        while self.exists():
            pids = self.pids()
            kill(pids)
            killed |= pids
            for directory in self._dirs():
                for parent, _, _ in os.walk(directory, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(parent)
            if not self.exists():
                break
            if time.monotonic() > deadline:
                raise LabError(f"processes {sorted(self.pids())} or their cgroups do not go away")
            time.sleep(0.02)
        return len(killed)


def kill(pids: set[int]) -> None:
    """SIGKILL, for processes just read from the lab's own cgroups and for no others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def argv0(pid: int) -> str:
    """First word of a process's command line, empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    return ""


def has_ended(pid: int) -> bool:
    """Whether a process has closed its files and sockets: it is gone, or only waits to be reaped.

    A killed process loses its memory, and with it its command line, well before its sockets; and
    its first thread may be a zombie while another still holds them.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def _delegate(directory: Path) -> None:
    """Let children of a version 2 cgroup use the controllers it has itself."""
    offered = (directory / "cgroup.controllers").read_text().split()
    for controller in _DELEGATED:
        if controller in offered:
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")
