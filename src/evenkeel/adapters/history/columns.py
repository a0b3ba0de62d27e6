"""The columns of the history's Parquet files (docs/operations.md documents them for readers).

One row a VM and slot, sorted by (slot, vm). `slot` is when the slot starts; it lasts `step_s`
seconds, which stands in the file's metadata. Measured columns are float32, NaN: not known.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evenkeel.domain.arrays import Ints
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.rollup import RollUp

VERSION: Final = 1
META: Final = b"evenkeel"
UNITS: Final = {
    Resource.CPU: "cores",
    Resource.MEMORY: "mib",
    Resource.NET: "mbit_s",
    Resource.IOPS: "per_s",
}
MATRICES: Final = ("demand", "peak", "loss", "censored", "capacity")
_SHARES: Final = {"loss", "censored"}


def column(resource: Resource, matrix: str) -> str:
    """`cpu_demand_cores`, `cpu_loss`, ..."""
    name = f"{resource.value}_{matrix}"
    return name if matrix in _SHARES else f"{name}_{UNITS[resource]}"


MEASURED: Final = tuple(column(r, m) for m in MATRICES for r in AXIS)
ROWS_A_GROUP: Final = 1 << 18
_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_LABEL_TYPE: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        pa.field("slot", _INSTANT, nullable=False),
        pa.field("vm", _LABEL_TYPE, nullable=False),
        pa.field("kind", _LABEL_TYPE, nullable=False),
        pa.field("host", _LABEL_TYPE, nullable=False),
        pa.field("n_ticks", pa.int32(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in MEASURED),
    ]
)


def to_table(rollup: RollUp) -> pa.Table:
    """Without the metadata; rows sorted by VM."""
    order = np.array(sorted(range(len(rollup.ids)), key=rollup.ids.__getitem__), np.intp)
    n = len(order)
    arrays: list[Any] = [
        pa.array(np.full(n, rollup.slot_s * 1000), _INSTANT),
        pa.array([rollup.ids[k] for k in order]).dictionary_encode(),
        pa.array([rollup.kinds[k] for k in order]).dictionary_encode(),
        pa.array([rollup.hosts[k] for k in order]).dictionary_encode(),
        pa.array(rollup.n_ticks[order].astype(np.int32)),
    ]
    for matrix in MATRICES:
        values = getattr(rollup, matrix)[order]
        arrays += [pa.array(values[:, k]) for k in range(N_RESOURCES)]
    if not n:
        return SCHEMA.empty_table()
    return pa.Table.from_arrays(
        [a.cast(f.type) for a, f in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA
    )


def from_table(table: pa.Table, slot_s: int, step_s: int, rolled_at_s: float) -> RollUp:
    """One slot's rows back."""

    def matrix(name: str) -> Any:
        columns = [table.column(column(r, name)).to_numpy() for r in AXIS]
        return np.stack(columns, axis=1).astype(np.float32).reshape(len(table), N_RESOURCES)

    def words(name: str) -> tuple[str, ...]:
        if not len(table):
            return ()
        names, codes = labels(table, name)
        return tuple(names[code] for code in codes.tolist())

    return RollUp(
        slot_s=slot_s,
        step_s=step_s,
        rolled_at_s=rolled_at_s,
        ids=words("vm"),
        kinds=words("kind"),
        hosts=words("host"),
        n_ticks=table.column("n_ticks").to_numpy().astype(np.intp),
        **{name: matrix(name) for name in MATRICES},
    )


def complete(table: pa.Table) -> pa.Table:
    """With `host` too: files from before hosts were kept have none, and get ""."""
    if "host" in table.schema.names:
        return table
    nowhere = pa.array([""] * len(table)).dictionary_encode()
    return table.append_column("host", nowhere).select(SCHEMA.names).cast(SCHEMA)


def between(first_s: int, last_s: int) -> Any:
    """A filter for readers: slots first_s to last_s, both included."""
    return (pc.field("slot") >= _instant(first_s)) & (pc.field("slot") <= _instant(last_s))


def of_slots(table: pa.Table, slots: Collection[int]) -> pa.Table:
    """The rows of these slots, in the order they stand, in one chunk."""
    wanted = pa.array([s * 1000 for s in sorted(slots)], _INSTANT)
    kept = table.filter(pc.is_in(table.column("slot"), value_set=wanted))
    return kept.unify_dictionaries().combine_chunks()


def sorted_rows(table: pa.Table) -> pa.Table:
    """By (vm, slot): a VM's numbers resemble those before, which is what compresses them."""
    table = table.unify_dictionaries().combine_chunks()
    if not len(table):
        return table
    names, codes = labels(table, "vm")
    place = np.empty(len(names), np.intp)
    place[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    at = table.column("slot").to_numpy().astype(np.int64)
    return table.take(pa.array(np.lexsort((at, place[codes]))))


def labels(table: pa.Table, name: str) -> tuple[list[str], Ints]:
    """(distinct names, code of each row) of a dictionary column."""
    encoded = table.column(name).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.intp)


def labelled(step_s: int, slots: Mapping[int, float]) -> pa.Schema:
    """`slots` says which slots the file holds (one may have no rows) and when each was made."""
    about = {"v": VERSION, "step_s": step_s, "slots": {str(s): at for s, at in slots.items()}}
    return SCHEMA.with_metadata({META: json.dumps(about).encode()})


def read_metadata(schema: pa.Schema) -> tuple[int, dict[int, float]]:
    """(step_s, slots). Raises ValueError when the file is not one of ours."""
    raw = (schema.metadata or {}).get(META)
    about = json.loads(raw) if raw else {}
    if about.get("v") != VERSION:
        raise ValueError(f"not a history file of version {VERSION}")
    return int(about["step_s"]), {int(s): float(at) for s, at in about["slots"].items()}


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, file: BinaryIO) -> None:
    """zstd; floats as BYTE_STREAM_SPLIT, all else as dictionaries."""
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name not in floats],
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    ) as writer:
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=ROWS_A_GROUP)


def instant(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _instant(at_s: int) -> pa.Scalar:
    return pa.scalar(at_s * 1000, _INSTANT)
