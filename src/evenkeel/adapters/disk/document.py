"""`Document` in a file of JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from evenkeel.adapters.disk.whole import write_whole
from evenkeel.decoding import decoder
from evenkeel.domain.errors import StoreUnavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)


class JsonDocument(Generic[T]):
    """See `evenkeel.ports_history.Document`. `kind` is the type of what is kept."""

    def __init__(self, path: Path, kind: type[T], default: Callable[[], T]) -> None:
        self._path = path
        self._decoder = decoder(kind)
        self._default = default

    def load(self) -> T:
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("%s cannot be read: %s", self._path, error)
        return self._default()

    def save(self, value: T) -> None:
        text = msgspec.json.encode(value)
        try:
            write_whole(self._path, lambda file: file.write(text))
        except OSError as error:
            raise StoreUnavailable(f"{self._path} could not be written: {error}") from error
