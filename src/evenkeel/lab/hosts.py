"""A lab host: its name and addresses, and how processes get into its namespaces and cgroup."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIBVIRT_PORT: Final = 16509

_JOIN: Final = """
set -e
while [ "$1" != -- ]; do echo $$ >"$1"; shift; done
shift
exec "$@"
"""
"""Write our own pid to the given files, up to `--`, then become the command that follows."""


@dataclass(frozen=True, slots=True)
class Host:
    """One pretended hypervisor. `uri` reaches its libvirt from anywhere on this machine."""

    name: str
    number: int
    address: str
    cpus: tuple[int, ...]

    @property
    def uri(self) -> str:
        return f"qemu+tcp://{self.address}/system"


def join_argv(join_files: Sequence[str], argv: Sequence[str]) -> list[str]:
    """A command line that joins a host's cgroups and then runs `argv`."""
    return ["/bin/sh", "-c", _JOIN, "join", *join_files, "--", *argv]


def enter_argv(keeper: int, argv: Sequence[str], cwd: Path) -> list[str]:
    """A command line that runs `argv` in the namespaces of the host's keeper, in directory `cwd`.

    The directory is entered last, in the host's own mounts; /run and others differ there.
    """
    go = f'cd {shlex.quote(str(cwd))} 2>/dev/null || cd /; exec "$@"'
    return [
        "nsenter",
        "-m",
        "-u",
        "-n",
        "-C",
        "-t",
        str(keeper),
        "--",
        "/bin/sh",
        "-c",
        go,
        "lab",
        *argv,
    ]
