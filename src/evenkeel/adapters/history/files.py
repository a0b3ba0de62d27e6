"""Which file of the history holds which slots, by its name and its folder's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

KINDS: Final = ("day", "hour", "slot")
"""Kinds of files by their first word, the largest first: a later one holds over a former."""
SLOT_RANK: Final = KINDS.index("slot")


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A file that can be read: `rank` is its kind's, `slots` says when each slot was made."""

    path: Path
    rank: int
    version: tuple[int, int]
    slots: Mapping[int, float]


def holders_of(files: Sequence[HistoryFile]) -> dict[int, HistoryFile]:
    """Which file's rows hold, for each slot: the smallest kind that has it."""
    held: dict[int, HistoryFile] = {}
    for file in sorted(files, key=lambda f: f.rank):
        held.update(dict.fromkeys(file.slots, file))
    return held


def day_start(day: Path) -> int:
    """UTC seconds of a folder `date=YYYY-MM-DD`. Raises ValueError for another name."""
    text = day.name.removeprefix("date=")
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())


def is_day(path: Path) -> bool:
    try:
        day_start(path)
    except ValueError:
        return False
    return path.is_dir()
