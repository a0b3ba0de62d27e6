"""Both histories keep the contract; that in files survives damage and is read by others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.contract.history_contract import HistoryContract, span
from tests.history_data import DAY_S, STEP_S, T0, MemoryHistory, a_rollup
from tests.killing import at_every_step

from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.domain.errors import HistoryUnavailable
from evenkeel.domain.resources import Resource
from evenkeel.ports_history import History


def three_slots_one_damaged(history: ParquetHistory, root: Path) -> Path:
    """The file of the second slot, whose rows are no longer what was written."""
    for slot in range(3):
        history.append(a_rollup(slot, {f"vm{k}": float(k) for k in range(500)}))
    damaged = root / "date=2027-01-15" / "slot-000500.parquet"
    content = bytearray(damaged.read_bytes())
    content[10:600] = bytes(590)
    damaged.write_bytes(content)
    return damaged


class TestMemoryHistory(HistoryContract):
    @pytest.fixture
    def history(self) -> History:
        return MemoryHistory()


class TestParquetHistory(HistoryContract):
    @pytest.fixture
    def history(self, tmp_path: Path) -> ParquetHistory:
        return ParquetHistory(tmp_path)

    def test_another_process_sees_it(self, history: ParquetHistory, tmp_path: Path) -> None:
        other = ParquetHistory(tmp_path)
        for slot in range(13):
            history.append(a_rollup(slot))
            assert len(other.slots(*span(20))) == slot + 1
        history.tidy(T0 + DAY_S, T0)
        assert len(other.slots(*span(20))) == 13
        assert other.panel(Resource.CPU, *span(13)).values.sum() == 39

    def test_files_are_joined_and_removed_by_day(
        self, history: ParquetHistory, tmp_path: Path
    ) -> None:
        for slot in (0, 5, 12, DAY_S // STEP_S):
            history.append(a_rollup(slot))
        day = tmp_path / "date=2027-01-15"
        assert {p.name for p in day.iterdir()} == {
            "slot-000000.parquet",
            "slot-002500.parquet",
            "slot-010000.parquet",
        }
        assert history.tidy(T0 + 7200, T0) == 3
        assert {p.name for p in day.iterdir()} == {"hour-00.parquet", "hour-01.parquet"}
        assert history.tidy(T0 + DAY_S, T0) == 2
        assert {p.name for p in day.iterdir()} == {"day.parquet"}
        assert history.tidy(T0 + DAY_S, T0) == 0
        history.tidy(T0 + 2 * DAY_S, T0 + DAY_S)
        assert [p.name for p in tmp_path.iterdir()] == ["date=2027-01-16"]

    def test_others_can_read_it(self, history: ParquetHistory, tmp_path: Path) -> None:
        for slot in range(24):
            history.append(a_rollup(slot))
        history.tidy(T0 + 3600, T0)
        everything = pq.read_table(tmp_path).to_pylist()  # as a partitioned data set
        assert len(everything) == 48
        first = min(everything, key=lambda row: (row["slot"], row["vm"]))
        assert first["slot"].isoformat() == "2027-01-15T00:00:00+00:00"
        shown = {k: v for k, v in first.items() if k.startswith("cpu_")}
        assert shown == {
            "cpu_demand_cores": 1.0,
            "cpu_peak_cores": 2.0,
            "cpu_loss": 0.0,
            "cpu_censored": 0.0,
            "cpu_capacity_cores": 4.0,
        }
        assert (first["vm"], first["kind"], first["n_ticks"]) == ("vm1", "shop/1x128MiB", 60)
        assert str(first["date"]) == "2027-01-15"
        file = pq.ParquetFile(tmp_path / "date=2027-01-15" / "hour-00.parquet").metadata
        column = file.row_group(0).column(file.schema.names.index("cpu_demand_cores"))
        assert column.compression == "ZSTD"
        assert "BYTE_STREAM_SPLIT" in column.encodings

    def test_files_from_before_hosts_were_kept(
        self, history: ParquetHistory, tmp_path: Path
    ) -> None:
        for slot in range(3):
            history.append(a_rollup(slot, host="h1"))
        old = tmp_path / "date=2027-01-15" / "slot-000500.parquet"
        table = pq.read_table(old, partitioning=None).drop_columns(["host"])
        pq.write_table(table, old)
        for _ in range(2):
            assert not history.problems()
            found = history.rollups(*span(3))
            assert [each.hosts for each in found] == [("h1",) * 2, ("",) * 2, ("h1",) * 2]
            assert history.panel(Resource.CPU, *span(3)).values.sum() == 9
            history.tidy(T0 + 3600, T0)
        assert [p.name for p in old.parent.iterdir()] == ["hour-00.parquet"]
        history.append(a_rollup(1, n_ticks=61, host="h2"))
        assert history.rollups(*span(3))[1].hosts == ("h2",) * 2

    def test_damage_is_left_out_of_whole_slots(
        self, history: ParquetHistory, tmp_path: Path
    ) -> None:
        damaged = three_slots_one_damaged(history, tmp_path)
        assert [each.slot_s for each in history.rollups(*span(3))] == [T0, T0 + 2 * STEP_S]
        assert [p.name for p in damaged.parent.glob("*.damaged")] == [damaged.name + ".damaged"]

    @pytest.mark.parametrize("size", [0, 3, 0.5, 0.99])
    def test_a_torn_file_is_left_out_and_told(
        self, history: ParquetHistory, tmp_path: Path, size: float
    ) -> None:
        for slot in range(3):
            history.append(a_rollup(slot))
        torn = tmp_path / "date=2027-01-15" / "slot-000500.parquet"
        whole = torn.stat().st_size
        os.truncate(torn, size if size > 1 else int(size * whole))
        for reader in (history, ParquetHistory(tmp_path)):
            assert list(reader.slots(*span(3))) == [T0, T0 + 2 * STEP_S]
            values = reader.panel(Resource.CPU, *span(3)).values
            assert np.isnan(values[:, 1]).all()
            assert list(reader.problems()) == ["date=2027-01-15/slot-000500.parquet"]
        history.append(a_rollup(1))
        assert not history.problems()
        assert len(history.slots(*span(3))) == 3

    def test_damaged_rows_are_set_aside_and_the_slot_may_come_again(
        self, history: ParquetHistory, tmp_path: Path
    ) -> None:
        damaged = three_slots_one_damaged(history, tmp_path)
        history.tidy(T0 + DAY_S, T0)
        assert list(history.slots(*span(3))) == [T0, T0 + 2 * STEP_S]
        assert [p.name for p in damaged.parent.glob("*.damaged")] == [damaged.name + ".damaged"]
        history.append(a_rollup(1))
        assert len(history.slots(*span(3))) == 3

    def test_files_of_another_slot_length_are_left_alone(
        self, history: ParquetHistory, tmp_path: Path
    ) -> None:
        history.append(a_rollup(0))
        minutes = ParquetHistory(tmp_path, 60)
        assert not minutes.slots(*span(1))
        assert "300 s" in next(iter(minutes.problems().values()))
        minutes.append(a_rollup(60, step_s=60))
        assert list(minutes.slots(T0, T0 + DAY_S)) == [T0 + 3600]
        assert list(history.slots(T0, T0 + DAY_S)) == [T0]

    def test_foreign_files_do_no_harm(self, history: ParquetHistory, tmp_path: Path) -> None:
        history.append(a_rollup(0))
        day = tmp_path / "date=2027-01-15"
        (day / "notes.txt").write_text("x")
        (day / "slot-more.parquet").write_text("not parquet")
        (tmp_path / "date=never").mkdir()
        (tmp_path / "README").write_text("x")
        assert len(history.panel(Resource.CPU, *span(1)).ids) == 2
        assert list(history.problems()) == ["date=2027-01-15/slot-more.parquet"]

    def test_a_full_disk_is_said_and_changes_nothing(
        self, history: ParquetHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history.append(a_rollup(0))

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            for slot in (0, 1):
                with pytest.raises(HistoryUnavailable, match="No space left"):
                    history.append(a_rollup(slot, {"vm1": 9.0}, n_ticks=99))
        assert list(history.slots(*span(2))) == [T0]
        assert history.panel(Resource.CPU, *span(1)).values[0, 0] == 1.0
        assert not list(tmp_path.glob("*/.*"))
        history.append(a_rollup(1))
        assert len(history.slots(*span(2))) == 2

    def test_killed_between_any_two_writes_it_converges(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slots = (0, 1, 3, 12)

        def work() -> None:
            history = ParquetHistory(tmp_path)
            for slot in slots:
                history.append(a_rollup(slot, {"a": slot + 1.0}))
            history.tidy(T0 + 3600, T0)
            history.append(a_rollup(3, {"a": 4.0}, n_ticks=61))
            history.tidy(T0 + DAY_S, T0)

        def look(done: bool) -> None:
            history = ParquetHistory(tmp_path)
            assert not history.problems()
            known = [(s - T0) // STEP_S for s in history.slots(*span(15))]
            row = history.panel(Resource.CPU, *span(15), vms=["a"]).values
            assert row[:, known].ravel().tolist() == [k + 1.0 for k in known]
            if done:
                assert tuple(known) == slots
                assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["day.parquet"]

        assert at_every_step(monkeypatch, work, look) > 10

    def test_a_place_that_cannot_be_used_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(HistoryUnavailable):
            ParquetHistory(tmp_path / "file" / "history")
