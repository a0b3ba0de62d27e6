"""Tables of measurements, one row a measurement: CSV, CSV.gz or Parquet, to named columns."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel.adapters.traces.base import columns_or_fail
from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid

HINT: Final = "Is `--format` right? `evenkeel interference evaluate --help` describes the layouts."
_TRUTH: Final = {"true": 1.0, "false": 0.0}
_UNKNOWN: Final = ("", "nan", "null", "none")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """N rows: `words` and `numbers` by column name; `line` (N,) is where each stood."""

    path: Path
    words: dict[str, list[str]]
    numbers: dict[str, F64]
    line: Ints
    what: str = "line"

    @property
    def n(self) -> int:
        return len(self.line)

    def require(self, ok: Bools, why: str) -> None:
        """Raise TraceInvalid for the first row that is not `ok`, with its line."""
        if not ok.all():
            raise TraceInvalid(
                f"{self.path}: {self.what} {self.line[int(np.argmin(ok))]}: {why}", hint=HINT
            )


def read_table(
    path: Path, words: Sequence[str], numbers: Sequence[str], optional: Sequence[str] = ()
) -> Table:
    """Columns `words` and `numbers` of the file; of the numbers in `optional` those it has.

    Raises TraceInvalid with file and line (row in Parquet) or column.
    """
    if not path.is_file():
        raise TraceInvalid(f"{path}: no such file", hint=HINT)
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet(path, words, numbers, optional)
        return _csv(path, words, numbers, optional)
    except TraceInvalid as error:
        raise TraceInvalid(error.message, hint=HINT) from error


def _csv(
    path: Path, words: Sequence[str], numbers: Sequence[str], optional: Sequence[str]
) -> Table:
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise TraceInvalid(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise TraceInvalid(f"{path}: not text: byte {error.start} is not UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    said: dict[str, list[str]] = {name: [] for name in words}
    line: list[int] = []
    try:
        head = [cell.strip() for cell in next(reader, [])]
        columns_or_fail(path, [*words, *numbers], head)
        wanted = [*numbers, *(name for name in optional if name in head)]
        at = {name: head.index(name) for name in (*words, *wanted)}
        found: dict[str, list[float]] = {name: [] for name in wanted}
        for row in reader:
            if not row:
                continue
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(head):
                raise TraceInvalid(f"{where}: {len(row)} columns, the heading has {len(head)}")
            line.append(reader.line_num)
            for name in words:
                said[name].append(row[at[name]].strip())
            for name in wanted:
                found[name].append(_number(row[at[name]], name, where))
    except csv.Error as error:
        raise TraceInvalid(f"{path}: line {reader.line_num}: {error}") from error
    if not line:
        raise TraceInvalid(f"{path}: line 2: no row after the heading")
    columns = {name: np.array(values, dtype=np.float64) for name, values in found.items()}
    return Table(path, said, columns, np.array(line, dtype=np.intp))


def _number(cell: str, name: str, where: str) -> float:
    cell = cell.strip()
    if cell.lower() in _UNKNOWN:
        return np.nan
    try:
        return _TRUTH[cell.lower()] if cell.lower() in _TRUTH else float(cell)
    except ValueError:
        raise TraceInvalid(f"{where}: column {name!r}: {cell[:40]!r} is not a number") from None


def _parquet(
    path: Path, words: Sequence[str], numbers: Sequence[str], optional: Sequence[str]
) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        head = pq.read_schema(path).names
        columns_or_fail(path, [*words, *numbers], head)
        wanted = [*numbers, *(name for name in optional if name in head)]
        table: Any = pq.read_table(path, columns=[*words, *wanted])
    except (OSError, pa.ArrowException) as error:
        raise TraceInvalid(f"{path}: not a Parquet file: {error}") from error
    found = {}
    for name in wanted:
        try:
            numbers_of = table[name].cast(pa.float64())
        except pa.ArrowException:
            try:  # bool has no cast to float of its own
                numbers_of = table[name].cast(pa.int8()).cast(pa.float64())
            except pa.ArrowException as error:
                raise TraceInvalid(f"{path}: column {name!r}: not numbers: {error}") from error
        found[name] = np.array(numbers_of.to_pylist(), dtype=np.float64)
    said = {name: ["" if v is None else str(v) for v in table[name].to_pylist()] for name in words}
    if not table.num_rows:
        raise TraceInvalid(f"{path}: row 1: there is none")
    return Table(path, said, found, np.arange(1, table.num_rows + 1, dtype=np.intp), "row")
