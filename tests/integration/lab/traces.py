"""Everything a lab could leave on the machine, looked up without the lab's own code."""

from __future__ import annotations

import subprocess
from pathlib import Path

from evenkeel.lab.names import LabNames


def printed(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def traces(number: int, state_dir: Path) -> list[str]:
    """What is there of the lab now; empty when it left nothing."""
    names = LabNames(number)
    found = [f"link: {line}" for line in printed("ip", "-o", "link").splitlines()]
    found = [line for line in found if f" {names.interface}" in line]
    netns = printed("ip", "netns", "list").split()
    found += [f"namespace: {ns}" for ns in netns if ns.startswith(names.namespace_prefix)]
    found += [f"cgroup: {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{names.cgroup}")]
    for line in Path("/proc/mounts").read_text().splitlines():
        if str(state_dir) in line or f"/{names.namespace_prefix}" in line:
            found.append(f"mount: {line}")
    found += [f"process: {text}" for text in processes(number, state_dir)]
    found += [f"file: {path}" for path in (state_dir, names.link) if path.exists()]
    found += [f"link file: {names.link}"] if names.link.is_symlink() else []
    return found


def processes(number: int, state_dir: Path) -> list[str]:
    """Processes in the lab's cgroups, or with its subnet or directory in their environment."""
    marks = [f"evenkeel-lab-{number}/".encode(), f"{state_dir}/".encode()]
    marks.append(f"{LabNames(number).subnet}.".encode())
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue  # already dead, only not yet buried
            told = b"\n".join(
                process.joinpath(name).read_bytes() for name in ("cgroup", "cmdline", "environ")
            )
        except OSError:
            continue
        if any(mark in told for mark in marks):
            found.append(f"{process.name} {process.joinpath('comm').read_text().strip()}")
    return found
