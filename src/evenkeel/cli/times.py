"""Instants and spans as people type them: `now`, `+90m`, `2026-12-01T08:00+01:00`, `1d`."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

from evenkeel.domain.errors import InvalidRequest

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class TimeInvalid(InvalidRequest):
    code = "time_invalid"
    exit_code = 2
    default_hint = "An instant is now, +90m, 2026-12-01T08:00 (UTC) or epoch seconds; a span is 1h."


def span_s(text: str) -> int:
    """`90`, `90m`, `1.5h`, `2d` or `1w` in whole seconds. Raises TimeInvalid."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None or len(text) > 20:
        raise TimeInvalid(f"{text[:50]!r} is not a span of time")
    return math.ceil(float(match[1]) * _SECONDS[match[2] or "s"])


def interval_s(start: str, span: str, until: str | None, now_s: float) -> tuple[int, int]:
    """Start and end: `until` if it is told, else `span` after the start. Raises TimeInvalid."""
    start_s = instant_s(start, now_s)
    return start_s, start_s + span_s(span) if until is None else instant_s(until, now_s)


def instant_s(text: str, now_s: float) -> int:
    """Whole UTC epoch seconds. Without an offset a date is in UTC. Raises TimeInvalid."""
    text = text.strip()
    if text == "now":
        return int(now_s)
    if text.startswith("+"):
        return int(now_s) + span_s(text[1:])
    if text.isdecimal():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeInvalid(f"{text[:50]!r} is not an instant") from error
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
