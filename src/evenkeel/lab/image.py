"""The guest's kernel and initial RAM disk, built once and kept in the build directory.

The kernel is the distribution's own, unpacked from its package and not installed; the RAM disk
holds virtio drivers, busybox, guestd and evenkeel-guest. Files are written aside and renamed, so a
build that was killed leaves nothing that a later one would take for finished.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import lzma
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from evenkeel.domain.errors import LabError, LabMissingTools
from evenkeel.lab import commands

Report = Callable[[str], None]

KERNEL_PACKAGES: Final = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-amd64")
DRIVERS: Final = ("virtio_pci", "virtio_balloon", "virtio_net", "virtio_blk", "virtio_console")
"""What a guest needs; a kernel has each as a module, with others it depends on, or built in."""
DIRECTORIES: Final = ("bin", "lib", "proc", "sys", "dev", "tmp", "run")
PROGRAMS: Final = {"guestd": ("guestd.c", "jobs.c"), "evenkeel-guest": ("evenkeel-guest.c",)}
"""Static programs of the guest, and the sources of each."""
RESOURCES: Final = Path(str(files("evenkeel.lab")))


@dataclass(frozen=True, slots=True)
class GuestImage:
    kernel: Path
    initrd: Path


def ensure_image(build_dir: Path, report: Report) -> GuestImage:
    """The guest image, built if it is not there or if its sources changed.

    Raises LabMissingTools when something to build it with is not installed, else LabError.
    """
    image = GuestImage(build_dir / "vmlinuz", build_dir / f"initrd-{_sources_digest()}.gz")
    if image.kernel.exists() and image.initrd.exists():
        return image
    build_dir.mkdir(parents=True, exist_ok=True)
    with locked(build_dir):
        if not (image.kernel.exists() and image.initrd.exists()):
            _build(build_dir, image, report)
    return image


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time in here; the lock goes with the process."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sources_digest() -> str:
    digest = hashlib.sha256(" ".join((*DRIVERS, *DIRECTORIES)).encode())
    for name in (*(s for sources in PROGRAMS.values() for s in sources), "jobs.h", "init"):
        digest.update((RESOURCES / "guest" / name).read_bytes())
    return digest.hexdigest()[:12]


def _build(build_dir: Path, image: GuestImage, report: Report) -> None:
    commands.require_build()
    for left in [*build_dir.glob("tmp.*"), *build_dir.glob("initrd-*.gz")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    with tempfile.TemporaryDirectory(prefix="tmp.", dir=build_dir) as scratch_name:
        scratch = Path(scratch_name)
        root = scratch / "root"
        report("getting a guest kernel")
        kernel, modules = _find_kernel(scratch)
        report("building the guest")
        for name in DIRECTORIES:
            (root / name).mkdir(parents=True)
        _add_modules(modules, root)
        for program, names in PROGRAMS.items():
            sources = [RESOURCES / "guest" / name for name in names]
            flags = ("-static", "-O2", "-s", "-pthread")
            commands.run("gcc", *flags, "-o", root / "bin" / program, *sources)
        _add(Path(commands.tool("busybox") or ""), root / "bin" / "busybox")
        _add(RESOURCES / "guest" / "init", root / "init")
        listing = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input=listing.encode(),
            cwd=root,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        (scratch / "initrd").write_bytes(gzip.compress(archive, 6))
        shutil.copyfile(kernel, scratch / "vmlinuz")
        (scratch / "vmlinuz").rename(image.kernel)
        (scratch / "initrd").rename(image.initrd)


def _add(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _find_kernel(scratch: Path) -> tuple[Path, Path]:
    """Kernel file and a directory with its modules: from a package, else the running one."""
    unpacked = scratch / "kernel"
    unpacked.mkdir()
    tried = []
    try:
        for package in _kernel_packages():
            # apt drops to an unprivileged user; it may write here, and says so when it may not
            commands.run("apt-get", "-q", "download", package, cwd=scratch)
        for archive in scratch.glob("*.deb"):
            commands.run("dpkg", "-x", archive, unpacked)
        for kernel in unpacked.glob("boot/vmlinuz-*"):
            return kernel, unpacked
    except LabError as error:
        tried.append(error.message)
    running = platform.release()
    kernel, modules = Path(f"/boot/vmlinuz-{running}"), Path(f"/lib/modules/{running}")
    if kernel.exists() and modules.is_dir():
        return kernel, modules
    raise LabMissingTools(
        "no guest kernel: " + "; ".join([*tried, f"and no {kernel} with {modules}"]),
        hint="Run `apt-get update` and try again, or install a distribution kernel.",
    )


def _kernel_packages() -> list[str]:
    """The versioned packages behind the distribution's kernel metapackage."""
    if commands.tool("apt-get") is None:
        raise LabMissingTools("apt-get is not here to get a kernel package with")
    for attempt in range(2):
        for meta in KERNEL_PACKAGES:
            packages = _depends(meta, ("linux-image-",))
            if packages:  # Ubuntu keeps the modules in a package of their own
                return packages + _depends(packages[0], ("linux-modules-",))
        if attempt == 0:
            commands.run("apt-get", "-q", "update")
    raise LabMissingTools("apt knows none of " + ", ".join(KERNEL_PACKAGES))


def _depends(package: str, prefixes: tuple[str, ...]) -> list[str]:
    try:
        printed = commands.run("apt-cache", "depends", "--important", package)
    except LabError:
        return []
    words = [line.partition("Depends: ")[2].strip() for line in printed.splitlines()]
    return [word for word in words if word.startswith(prefixes)][:1]


def _add_modules(modules: Path, root: Path) -> None:
    """Unpack the drivers into the RAM disk, in loading order. Raises LabError if one lacks."""
    files = {p.name.split(".ko")[0].replace("-", "_"): p for p in modules.rglob("*.ko*")}
    built_in = {
        Path(line).stem.replace("-", "_")
        for index in modules.rglob("modules.builtin")
        for line in index.read_text().splitlines()
    }
    loaded: dict[str, None] = {}  # an ordered set

    def add(name: str) -> None:
        if name in loaded or (name in built_in and name not in files):
            return
        if name not in files:
            raise LabError(f"the guest kernel in {modules} has no {name}")
        module = _unpacked(files[name])
        for dependency in module_dependencies(module):
            add(dependency)
        (root / "lib" / f"{name}.ko").write_bytes(module)
        loaded[name] = None

    for driver in DRIVERS:
        add(driver)
    (root / "modules").write_text(" ".join(loaded) + "\n")


def module_dependencies(module: bytes) -> list[str]:
    """Names of the modules that a kernel module, given as its file's bytes, wants loaded first."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    names = found[1].decode() if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def _unpacked(module: Path) -> bytes:
    match module.suffix:
        case ".xz":
            return lzma.decompress(module.read_bytes())
        case ".gz":
            return gzip.decompress(module.read_bytes())
        case ".zst":
            commands.require_build(commands.missing({"zstd": "zstd"}))
            return subprocess.run(["zstd", "-dcq", module], check=True, capture_output=True).stdout
        case _:
            return module.read_bytes()
