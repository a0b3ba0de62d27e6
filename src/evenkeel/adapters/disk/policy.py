"""The last policy on disk, so that an agent that starts while its controller is away obeys it."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

from evenkeel.domain.policy import Policy

_log = logging.getLogger(__name__)


class FilePolicyMemory:
    """Implements `ports.PolicyMemory` in one JSON file, replaced whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(Policy)

    def load(self) -> Policy | None:
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("policy %s cannot be read, the default holds: %s", self._path, error)
            return None

    def save(self, policy: Policy) -> None:
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(msgspec.json.encode(policy))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            _log.warning("policy %s was not saved: %s", self._path, error)


def _sync_directory(path: Path) -> None:
    """Make a rename in the directory last over a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
