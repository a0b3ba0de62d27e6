"""A store on disk, a clock turned by hand, a history in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.batches import ManualClock
from tests.history_data import (
    T0,
    MemoryHistory,
)

from evenkeel.adapters.store.store import SqlStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/controller.db")
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0 + 1000.0)


@pytest.fixture
def history() -> MemoryHistory:
    return MemoryHistory()
