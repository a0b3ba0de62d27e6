"""Files that are there whole or not at all, whatever dies in between."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

PARTIAL: Final = ".partial"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside it, sync, rename, sync the directory. Raises OSError, and what `write` raises;
    then nothing changed.

    The partial file's name starts with a dot and ends in `.partial`: readers skip it, and
    `sweep` removes those that a killed process left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in the directory last over a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(directory: Path) -> None:
    """Remove partial files that nobody writes any more. Never raises."""
    for partial in directory.glob(f".*{PARTIAL}"):
        pid = partial.name.removesuffix(PARTIAL).rpartition(".")[2]
        if pid.isdecimal() and not _is_other_process(int(pid)):
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _is_other_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
