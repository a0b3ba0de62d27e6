"""How a process gets into a lab host: first into its cgroups, then into its namespaces."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from evenkeel.lab.commands import environment

_JOIN: Final = """
set -e
while [ "$1" != -- ]; do echo $$ >"$1"; shift; done
shift
exec "$@"
"""
"""Write our own pid to the given files, up to `--`, then become the command that follows."""


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


def spawn_detached(argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Start a process that outlives us and is nobody's child to wait for."""
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(dict(env)),
            cwd="/",
            check=True,
        )
