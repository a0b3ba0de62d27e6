"""Opaque page cursors: the sort key of the last item, so that pages stay right while data grows."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence

from evenkeel.domain.errors import InvalidRequest

_SURROGATE = re.compile("[\ud800-\udfff]")
Key = tuple[str | int | float, ...]


def encode(key: Key) -> str:
    raw = json.dumps(key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(cursor: str, *kinds: type) -> tuple[str | int | float, ...]:
    """The key again, if it has these kinds of parts. Raises InvalidRequest."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _bad() from error
    if not isinstance(parts, list) or len(parts) != len(kinds):
        raise _bad()
    for part, kind in zip(parts, kinds, strict=True):
        if not _fits(part, kind):
            raise _bad()
    return tuple(parts)


def _fits(part: object, kind: type) -> bool:
    if kind is str:
        return isinstance(part, str) and "\x00" not in part and not _SURROGATE.search(part)
    if isinstance(part, bool) or not isinstance(part, int | float):
        return False
    return abs(part) < 2**53 and (kind is float or isinstance(part, int))


def _bad() -> InvalidRequest:
    return InvalidRequest("the cursor is not one of ours", hint="Begin again without a cursor.")


def following(key: Key | None, items: Sequence[object], limit: int) -> str | None:
    """The cursor after a full page; a page that is not full is the last one."""
    return encode(key) if key is not None and len(items) == limit else None
