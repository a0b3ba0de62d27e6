"""Outside programs that the lab runs, and what is missing when it cannot run at all."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evenkeel.domain.errors import LabError, LabMissingTools

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PACKAGES: Final = {
    "libvirtd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
}
BUILD_PACKAGES: Final = {"gcc": "gcc libc6-dev", "cpio": "cpio", "busybox": "busybox-static"}
QEMU_DRIVER: Final = "libvirt/connection-driver/libvirt_driver_qemu.so"


def tool(name: str) -> str | None:
    """Path of a program, looked for in the sbin directories too."""
    return shutil.which(name, path=SEARCH_PATH)


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end and return what it printed. Raises LabError with its complaint."""
    try:
        done = subprocess.run(
            [str(a) for a in argv],
            cwd=cwd,
            check=True,
            capture_output=True,
            text=True,
            env=environment(),
        )
    except FileNotFoundError as error:
        raise LabMissingTools(f"{argv[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise LabError(f"`{' '.join(map(str, argv))}` failed: {said[-500:]}") from error
    return done.stdout


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the sbin directories in PATH."""
    path = f"{os.environ.get('PATH', '')}:{SEARCH_PATH}".lstrip(":")
    return {**os.environ, "PATH": path, **(extra or {})}


def missing(packages: dict[str, str]) -> list[str]:
    """Packages to install for the programs of `packages` that are not here."""
    return [package for program, package in packages.items() if tool(program) is None]


def require_lab() -> None:
    """Raise LabMissingTools, with everything that is missing, when no lab can run here."""
    lacks = missing(PACKAGES)
    if not any(Path("/usr/lib").glob(f"*/{QEMU_DRIVER}")) and not list(
        Path("/usr").glob(f"lib*/{QEMU_DRIVER}")
    ):
        lacks.append("libvirt-daemon-driver-qemu")
    if importlib.util.find_spec("libvirt") is None:
        lacks.append("libvirt-python (evenkeel's agent extra)")
    if platform.machine() != "x86_64":
        lacks.append(f"an x86_64 machine (this one is {platform.machine()})")
    if not Path("/dev/net/tun").exists():
        lacks.append("/dev/net/tun")
    if lacks:
        raise LabMissingTools("the lab lacks: " + ", ".join(dict.fromkeys(lacks)))
    require_root()


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabMissingTools(
            "the lab makes network namespaces and cgroups, so it must run as root",
            hint="Run it with sudo, or use the simulated fleet.",
        )


def require_build(extra: Sequence[str] = ()) -> None:
    """Raise LabMissingTools when the guest image cannot be built here."""
    lacks = [*missing(BUILD_PACKAGES), *extra]
    if lacks:
        raise LabMissingTools("building the guest image lacks: " + ", ".join(lacks))
