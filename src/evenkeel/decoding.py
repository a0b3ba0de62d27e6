"""Decoders of JSON into our types, made in the one way that threads may share.

While msgspec (0.22) learns what a dataclass holds, other threads already find the half-filled
answer, and decoding by that one ends the process (SIGSEGV). So all learning happens under one lock;
a decoder that is made is safe to share. The linter forbids the ways around.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_learning = threading.Lock()


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder into `kind`; it raises msgspec.DecodeError, and UnicodeDecodeError."""
    with _learning:
        return msgspec.json.Decoder(kind)


def converted(raw: Any, kind: type[T], *, strict: bool) -> T:
    """`raw`, plain values, as `kind`. Raises msgspec.ValidationError."""
    with _learning:
        return msgspec.convert(raw, kind, strict=strict)
