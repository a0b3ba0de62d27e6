"""`History` in Parquet files: `date=YYYY-MM-DD/` with a file a slot, later an hour, later a day.

A slot is written to its own file, whole or not at all. Compaction puts the slots of a complete
hour, then of a complete day, into one file and removes theirs; a process killed between the two
leaves both, with the same rows. Where files overlap, the smaller one holds, because a slot
that is rolled up again (late batches) goes to a slot file. Foreign and torn files are skipped and
told by `problems`.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from evenkeel.adapters.disk.whole import sweep, sync_directory, write_whole
from evenkeel.adapters.history import columns
from evenkeel.adapters.history.files import (
    KINDS,
    SLOT_RANK,
    HistoryFile,
    day_start,
    holders_of,
    is_day,
)
from evenkeel.adapters.history.panels import PanelBuilder
from evenkeel.domain.errors import HistoryUnavailable
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import Resource
from evenkeel.domain.rollup import RollUp

_HOUR_S: Final = 3600


class ParquetHistory:
    """See `evenkeel.ports_history.History`. Raises HistoryUnavailable when `root` cannot be used.

    Parameters
    ----------
    root : directory of the `date=...` folders, made if it is not there
    step_s : seconds a slot, a divisor of a day; files of another step are left out as problems
    """

    def __init__(self, root: Path, step_s: int = 300) -> None:
        if step_s < 1 or int(DAY_S) % step_s:
            raise ValueError(f"a day is not a multiple of {step_s} s")
        self._root = root
        self._step_s = step_s
        self._lock = threading.RLock()
        self._known: dict[Path, HistoryFile] = {}
        self._problems: dict[str, str] = {}
        with _translated("opened"):
            root.mkdir(parents=True, exist_ok=True)
            for day in self._days():
                sweep(day)

    @property
    def step_s(self) -> int:
        return self._step_s

    # --- writing ---

    def append(self, rollup: RollUp) -> None:
        if rollup.step_s != self._step_s:
            raise ValueError(f"a roll-up of {rollup.step_s} s in a history of {self._step_s} s")
        with self._lock, _translated("written"):
            known = self._rollup(rollup.slot_s)
            merged = rollup if known is None else rollup.merged(known)
            table = columns.to_table(merged)
            at = datetime.fromtimestamp(rollup.slot_s, UTC)
            path = self._day(rollup.slot_s) / f"slot-{at:%H%M%S}.parquet"
            self._write(path, lambda: [table], {rollup.slot_s: merged.rolled_at_s})

    def tidy(self, before_s: int, keep_from_s: int) -> int:
        with self._lock, _translated("tidied"):
            gone = 0
            for day in self._days():
                start_s = day_start(day)
                if start_s + DAY_S <= keep_from_s:
                    gone += sum(1 for _ in day.iterdir())
                    shutil.rmtree(day)
                    sync_directory(self._root)
                    self._known = {p: f for p, f in self._known.items() if p.parent != day}
                elif start_s < before_s:
                    gone += self._compact(day, start_s, before_s)
            return gone

    def _compact(self, day: Path, start_s: int, before_s: int) -> int:
        files = self._files_of(day)
        if start_s + DAY_S <= before_s:
            if [f.rank for f in files] == [0]:
                return 0
            return self._join(files, day / "day.parquet")
        gone = 0
        for hour in range(24):
            first = start_s + hour * _HOUR_S
            if first + _HOUR_S > before_s or self._step_s >= _HOUR_S:
                break
            within = [f for f in files if f.rank and all(0 <= s - first < _HOUR_S for s in f.slots)]
            if any(f.rank == SLOT_RANK for f in within):
                gone += self._join(within, day / f"hour-{hour:02d}.parquet")
        return gone

    def _join(self, files: list[HistoryFile], target: Path) -> int:
        """One file of all, written hour by hour, the others removed once it is on the disk."""
        files = [file for file in files if self._is_sound(file)]
        holders = sorted(holders_of(files).items())
        if not holders:
            return 0
        slots = {slot_s: file.slots[slot_s] for slot_s, file in holders}
        hours: dict[int, dict[Path, list[int]]] = {}
        for slot_s, file in holders:
            hours.setdefault(slot_s // _HOUR_S, {}).setdefault(file.path, []).append(slot_s)

        def tables() -> Iterator[pa.Table]:
            for by_file in hours.values():
                parts = [self._read(path, wanted) for path, wanted in sorted(by_file.items())]
                yield columns.sorted_rows(pa.concat_tables(parts))

        self._write(target, tables, slots)
        gone = [f.path for f in files if f.path != target]
        for path in gone:
            path.unlink(missing_ok=True)
            self._known.pop(path, None)
        sync_directory(target.parent)
        return len(gone)

    def _is_sound(self, file: HistoryFile) -> bool:
        """Whether all of it can be read; it is set aside when not."""
        try:
            for _ in pq.ParquetFile(file.path).iter_batches(1 << 18):
                pass
        except (pa.ArrowException, OSError) as error:
            self._set_aside(file.path, error)
            return False
        return True

    def _write(
        self, path: Path, tables: Callable[[], Iterable[pa.Table]], slots: Mapping[int, float]
    ) -> None:
        schema = columns.labelled(self._step_s, slots)
        write_whole(path, lambda file: columns.write_tables(tables(), schema, file))
        self._problems.pop(self._name(path), None)

    # --- reading ---

    def slots(self, start_s: int, end_s: int) -> Mapping[int, float]:
        with self._lock, _translated("read"):
            holders = holders_of(self._files(start_s, end_s))
            return {s: f.slots[s] for s, f in sorted(holders.items()) if start_s <= s < end_s}

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        if start_s % self._step_s or end_s % self._step_s or end_s < start_s:
            raise ValueError(f"[{start_s}, {end_s}) is not a range of whole slots")
        builder = PanelBuilder(resource, start_s, end_s, self._step_s)
        wanted = None if vms is None else set(vms)
        with self._lock, _translated("read"):
            for file, slots in self._by_file(start_s, end_s):
                try:
                    for piece in self._pieces(file.path, slots, builder.names):
                        builder.add(piece, wanted)
                except (pa.ArrowException, OSError) as error:
                    self._set_aside(file.path, error)
        return builder.panel()

    def rollups(self, start_s: int, end_s: int) -> Sequence[RollUp]:
        found: list[RollUp] = []
        with self._lock, _translated("read"):
            for file, slots in self._by_file(start_s, end_s):
                try:
                    rows = self._read(file.path, slots)
                except (pa.ArrowException, OSError) as error:
                    self._set_aside(file.path, error)
                    continue
                for slot_s in slots:
                    one, at_s = columns.of_slots(rows, [slot_s]), file.slots[slot_s]
                    found.append(columns.from_table(one, slot_s, self._step_s, at_s))
        return sorted(found, key=lambda rollup: rollup.slot_s)

    def _by_file(self, start_s: int, end_s: int) -> list[tuple[HistoryFile, list[int]]]:
        """Which slots of [start_s, end_s) to take from which file, by path."""
        slots: dict[Path, list[int]] = {}
        files: dict[Path, HistoryFile] = {}
        for slot_s, file in holders_of(self._files(start_s, end_s)).items():
            if start_s <= slot_s < end_s:
                slots.setdefault(file.path, []).append(slot_s)
                files[file.path] = file
        return [(files[path], slots[path]) for path in sorted(slots)]

    def problems(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._problems)

    def _rollup(self, slot_s: int) -> RollUp | None:
        file = holders_of(self._files(slot_s, slot_s + self._step_s)).get(slot_s)
        if file is None:
            return None
        try:
            rows = self._read(file.path, [slot_s])
        except (pa.ArrowException, OSError) as error:
            self._set_aside(file.path, error)
            return None
        return columns.from_table(rows, slot_s, self._step_s, file.slots[slot_s])

    def _read(
        self, path: Path, slots: Collection[int], names: Sequence[str] | None = None
    ) -> pa.Table:
        """The rows of these slots. Row groups without any of them are not read."""
        table = pq.read_table(
            path,
            columns=None if names is None else list(names),
            filters=columns.between(min(slots), max(slots)),
            partitioning=None,  # the folder's name is no column
        )
        return columns.of_slots(table if names else columns.complete(table), slots)

    def _files(self, start_s: int, end_s: int) -> list[HistoryFile]:
        found = []
        for day in self._days():
            first = day_start(day)
            if first < end_s and first + DAY_S > start_s:
                found += self._files_of(day)
        return found

    def _files_of(self, day: Path) -> list[HistoryFile]:
        """Those that can be read; what they hold is asked again only when they change."""
        found = []
        for path in sorted(day.glob("*.parquet")):
            kind = path.name.partition("-")[0].partition(".")[0]
            if path.name.startswith(".") or kind not in KINDS:
                continue
            try:
                facts = path.stat()
                version = (facts.st_mtime_ns, facts.st_size)
                known = self._known.get(path)
                if known is None or known.version != version:
                    step_s, slots = columns.read_metadata(pq.read_schema(path))
                    if step_s != self._step_s:
                        raise ValueError(f"its slots last {step_s} s and not {self._step_s} s")
                    known = HistoryFile(path, KINDS.index(kind), version, slots)
                    self._known[path] = known
                    self._problems.pop(self._name(path), None)
                found.append(known)
            except FileNotFoundError:
                continue  # somebody compacted meanwhile
            except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
                self._known.pop(path, None)
                self._tell(path, error)
        return found

    def _pieces(
        self, path: Path, slots: Collection[int], names: Sequence[str]
    ) -> Iterator[pa.Table]:
        """As `_read`, a row group (at most an hour) at a time: a day of a large fleet is large."""
        first, last = columns.instant(min(slots)), columns.instant(max(slots))
        with pq.ParquetFile(path) as file:
            at = file.schema_arrow.get_field_index("slot")
            for k in range(file.num_row_groups):
                facts = file.metadata.row_group(k).column(at).statistics
                if facts is None or (facts.max >= first and facts.min <= last):
                    yield columns.of_slots(file.read_row_group(k, list(names)), slots)

    def _set_aside(self, path: Path, error: Exception) -> None:
        """A file with a sound footer and damaged rows: its slots count as not there."""
        self._tell(path, error)
        self._known.pop(path, None)
        with contextlib.suppress(OSError):
            path.rename(path.with_name(path.name + ".damaged"))

    def _tell(self, path: Path, error: Exception) -> None:
        self._problems[self._name(path)] = str(error)[:200]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _days(self) -> list[Path]:
        return sorted(p for p in self._root.glob("date=*") if is_day(p))

    def _day(self, at_s: int) -> Path:
        return self._root / f"date={datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HistoryUnavailable(f"telemetry history could not be {what}: {reason}") from error
