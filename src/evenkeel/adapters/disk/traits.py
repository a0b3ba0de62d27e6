"""What an agent learnt of its VMs' traits, on disk, so that a restart forgets nothing."""

from __future__ import annotations

from pathlib import Path

from evenkeel.adapters.disk.whole import sweep, write_whole
from evenkeel.domain.errors import ModelCorrupt, ModelsUnavailable


class FileTraitKeeper:
    """Implements `ports.TraitKeeper` in one file, replaced whole or not at all.

    The blob carries its own checksums (it is an archive); whoever unpacks it finds damage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        sweep(path.parent)

    def load(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelCorrupt(f"{self._path} cannot be read: {error.strerror}") from error

    def save(self, blob: bytes) -> None:
        try:
            write_whole(self._path, lambda file: file.write(blob))
        except OSError as error:
            raise ModelsUnavailable(f"{self._path}: {error.strerror or error}") from error
