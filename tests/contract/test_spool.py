"""Both spools keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.spool_contract import MAX_BYTES, SpoolContract

from evenkeel.adapters.disk.spool import SqliteSpool
from evenkeel.ports import Spool
from evenkeel.sim.memory import MemorySpool


class TestMemorySpool(SpoolContract):
    @pytest.fixture
    def spool(self) -> Spool:
        return MemorySpool(MAX_BYTES)


class TestSqliteSpool(SpoolContract):
    @pytest.fixture
    def spool(self, tmp_path: Path) -> Iterator[Spool]:
        spool = SqliteSpool(tmp_path / "spool.db", MAX_BYTES)
        yield spool
        spool.close()


class TestSqliteSpoolWithoutDisk(SpoolContract):
    """Its directory cannot be made, so it lives in memory alone."""

    @pytest.fixture
    def spool(self, tmp_path: Path) -> Iterator[Spool]:
        (tmp_path / "state").write_text("a file where a directory should be")
        spool = SqliteSpool(tmp_path / "state" / "spool.db", MAX_BYTES)
        yield spool
        spool.close()
