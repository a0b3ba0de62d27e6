"""The last policy on disk, so that an agent that starts while its controller is away obeys it."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from evenkeel.adapters.disk.whole import sweep, write_whole
from evenkeel.decoding import decoder
from evenkeel.domain.policy import Policy

_log = logging.getLogger(__name__)


class FilePolicyMemory:
    """Implements `ports.PolicyMemory` in one JSON file, replaced whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        sweep(path.parent)
        self._decoder = decoder(Policy)

    def load(self) -> Policy | None:
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("policy %s cannot be read, the default holds: %s", self._path, error)
            return None

    def save(self, policy: Policy) -> None:
        try:
            write_whole(self._path, lambda file: file.write(msgspec.json.encode(policy)))
        except OSError as error:
            _log.warning("policy %s was not saved: %s", self._path, error)
