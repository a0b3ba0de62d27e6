"""Instants as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def shown(at_s: int) -> str:
    """Of UTC epoch seconds: date and time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(at_s)
