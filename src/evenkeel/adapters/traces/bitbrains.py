"""Bitbrains (GWA-T-12): one panel of one resource over the whole time of the files given.

Layouts: Parquet with `vm, ts, cores, cpu_pct, mem_cap_mib, mem_mib, disk_*_kbs, net_*_kbs`, or the
original: a `;`-separated CSV a VM, files, a folder or a zip of them; the file's name is the VM, so
files of one name (one a month) are one VM. Its first column is headed ms and holds seconds; real
milliseconds are understood too.

The trace counts no disk operations, only KB/s: for `iops` read + write KB/s stand in for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel.adapters.traces.base import (
    Flaws,
    Samples,
    Source,
    columns_or_fail,
    contents,
    counted,
    find_files,
    on_grid,
)
from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.panel import Calendar
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.domain.trace import Reading, Trace

KIB_A_MIB: Final = 1024.0
COLUMNS: Final = {
    "timestamp": "ts",
    "cpu cores": "cores",
    "cpu usage [%]": "cpu_pct",
    "memory capacity provisioned [kb]": "mem_cap_mib",
    "memory usage [kb]": "mem_mib",
    "disk read throughput [kb/s]": "disk_rd_kbs",
    "disk write throughput [kb/s]": "disk_wr_kbs",
    "network received throughput [kb/s]": "net_rx_kbs",
    "network transmitted throughput [kb/s]": "net_tx_kbs",
}
"""Heading in the original (the time's is matched by its first word) -> column in Parquet."""

NEEDED: Final[dict[Resource, tuple[str, ...]]] = {
    Resource.CPU: ("cpu_pct",),
    Resource.MEMORY: ("mem_mib", "mem_cap_mib"),
    Resource.NET: ("net_rx_kbs", "net_tx_kbs"),
    Resource.IOPS: ("disk_rd_kbs", "disk_wr_kbs"),
}

VALUES: Final = ("nan", "negative", "absurd")
"""Flaws of single values; the others are of whole samples, the same for every resource."""

Columns = dict[str, F64]


def read_bitbrains(
    paths: Sequence[Path], resource: Resource, now_s: float, calendar: Calendar | None = None
) -> Reading:
    """`resource` of all VMs in `paths`; times past `now_s` are not believed.

    Raises TraceInvalid with file and line (or column) for what is not in one of the layouts.
    """
    ids, series, joined = _read(paths, ("ts", "cores", *NEEDED[resource]))
    flaws: Flaws = Flaws()
    trace = _trace(ids, series, joined, resource, now_s, calendar or Calendar(), flaws)
    return Reading((trace,), counted(flaws))


@dataclass(frozen=True, slots=True)
class FleetReading:
    """All resources on one grid, `cores` (0: off, NaN: no sample) and `memory_mib`, the memory
    that is provisioned."""

    demand: Mapping[Resource, Trace]
    cores: Trace
    memory_mib: Trace
    flaws: Mapping[str, int]


def read_bitbrains_fleet(paths: Sequence[Path], now_s: float) -> FleetReading:
    """As `read_bitbrains`, of all resources in one go."""
    needed = dict.fromkeys(name for names in NEEDED.values() for name in names)
    ids, series, joined = _read(paths, ("ts", "cores", *needed))
    calendar = Calendar()
    demand, flaws = {}, Flaws()
    for resource in AXIS:
        told = Flaws()
        demand[resource] = _trace(ids, series, joined, resource, now_s, calendar, told)
        # What is wrong with samples' times is told by every resource, and counts once.
        flaws.update({k: n for k, n in told.items() if k in VALUES or resource is Resource.CPU})

    def size(name: str, resource: Resource) -> Trace:
        unknown, on = np.full(len(series), np.nan), np.zeros(len(series), dtype=np.bool_)
        samples = Samples(ids, series, joined["ts"], joined[name], unknown, is_off=on)
        return on_grid(samples, resource, calendar, now_s, Flaws())

    cores, memory_mib = size("cores", Resource.CPU), size("mem_cap_mib", Resource.MEMORY)
    return FleetReading(demand, cores, memory_mib, counted(flaws))


def _read(paths: Sequence[Path], wanted: Sequence[str]) -> tuple[tuple[str, ...], Any, Columns]:
    """Ids, the index of each sample's among them, and the columns `wanted` of all files."""
    vms: list[tuple[np.ndarray[Any, Any], Columns]] = []
    for path in find_files(paths, ".csv"):
        if path.suffix.lower() == ".parquet":
            vms.append(_read_parquet(path, wanted))
            continue
        for source in contents(path, ".csv" if path.suffix.lower() == ".zip" else ""):
            columns = _read_csv(source, wanted)
            vms.append((np.full(len(columns["ts"]), source.name.stem, dtype=object), columns))
    if not vms:
        raise TraceInvalid(f"{', '.join(map(str, paths))}: no .csv files in there")
    ids, series = _numbered([names for names, _ in vms])
    return ids, series, {name: np.concatenate([c[name] for _, c in vms]) for name in wanted}


def _trace(
    ids: tuple[str, ...],
    series: Any,
    joined: Columns,
    resource: Resource,
    now_s: float,
    calendar: Calendar,
    flaws: Flaws,
) -> Trace:
    values, capacity = _demand(joined, resource)
    samples = Samples(
        ids, series, joined["ts"], values, capacity, is_off=np.equal(joined["cores"], 0)
    )
    return on_grid(samples, resource, calendar, now_s, flaws)


def _numbered(names: list[np.ndarray[Any, Any]]) -> tuple[tuple[str, ...], Any]:
    """Ids in natural order, and the index of each sample's among them."""
    blocks = []
    seen: set[str] = set()
    for block in names:
        unique, back = np.unique(block, return_inverse=True)
        words = [str(u) for u in unique]
        seen.update(words)
        blocks.append((words, back))
    ids = sorted(seen, key=lambda w: (not w.isdigit(), int(w) if w.isdigit() else 0, w))
    at = {vm: i for i, vm in enumerate(ids)}
    series = [np.array([at[w] for w in words], dtype=np.intp)[back] for words, back in blocks]
    return tuple(ids), np.concatenate(series)


def _demand(c: Columns, resource: Resource) -> tuple[F64, F64]:
    """Demand in the resource's unit, and its capacity or NaN."""
    if resource is Resource.CPU:
        return c["cpu_pct"] / 100.0 * c["cores"], c["cores"]
    if resource is Resource.MEMORY:
        return c["mem_mib"], c["mem_cap_mib"]
    unknown = np.full(len(c["ts"]), np.nan)
    if resource is Resource.NET:
        return (c["net_rx_kbs"] + c["net_tx_kbs"]) * 8.0 / 1000.0, unknown
    return c["disk_rd_kbs"] + c["disk_wr_kbs"], unknown


def _read_parquet(path: Path, wanted: Sequence[str]) -> tuple[np.ndarray[Any, Any], Columns]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns_or_fail(path, ("vm", *wanted), pq.read_schema(path).names)
        table = pq.read_table(path, columns=["vm", *wanted])
    except (OSError, pa.ArrowException) as error:
        raise TraceInvalid(f"{path}: not a Parquet file: {error}") from error
    columns: Columns = {}
    for name in wanted:
        try:
            numbers = table[name].cast(pa.float64())
        except pa.ArrowException as error:
            raise TraceInvalid(f"{path}: column {name!r}: not numbers: {error}") from error
        columns[name] = numbers.to_numpy()
    return table["vm"].to_numpy(), columns


def _read_csv(source: Source, wanted: Sequence[str]) -> Columns:
    import pyarrow as pa
    from pyarrow import csv

    head, _, body = source.content.partition(b"\n")
    at = _positions(source, head, wanted)
    if not body.strip():
        raise TraceInvalid(f"{source.path}: line 2: no sample after the heading")
    n_columns = head.count(b";") + 1
    names = [str(i) for i in range(n_columns)]
    used = [str(i) for i in at.values()]
    try:
        table = csv.read_csv(
            pa.BufferReader(body.replace(b"\t", b"")),
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=";"),
            convert_options=csv.ConvertOptions(
                include_columns=used, column_types=dict.fromkeys(used, pa.float64())
            ),
        )
        columns = {name: table[str(i)].to_numpy() for name, i in at.items()}
    except pa.ArrowException as error:
        raise TraceInvalid(_what_is_wrong(source.path, body, at, n_columns)) from error
    for name in ("mem_mib", "mem_cap_mib"):
        if name in columns:
            columns[name] = columns[name] / KIB_A_MIB
    return columns


def _positions(source: Source, head: bytes, wanted: Sequence[str]) -> dict[str, int]:
    headings = [h.strip().lower() for h in head.decode("utf-8", "replace").split(";")]
    if not headings[0].lstrip("\ufeff").startswith("timestamp"):
        shown = repr(head[:40].decode("utf-8", "replace"))
        raise TraceInvalid(
            f"{source.path}: line 1: a heading that begins with 'Timestamp [ms];' is expected, "
            f"not {shown}"
        )
    found = {COLUMNS[h]: i for i, h in enumerate(headings) if h in COLUMNS} | {"ts": 0}
    for heading, name in COLUMNS.items():
        if name in wanted and name not in found:
            raise TraceInvalid(f"{source.path}: line 1: column {heading!r} is missing")
    return {name: found[name] for name in wanted}


def _what_is_wrong(path: str, body: bytes, at: dict[str, int], n_columns: int) -> str:
    """The slow way through a file that did not parse: its first bad line."""
    for n, line in enumerate(body.splitlines(), 2):
        cells = line.split(b";")
        if line.strip() and len(cells) != n_columns:
            return f"{path}: line {n}: {len(cells)} columns, the heading has {n_columns}"
        for name, i in at.items() if line.strip() else ():
            try:
                float(cells[i] or b"nan")
            except ValueError:
                shown = repr(cells[i][:40].decode("utf-8", "replace").strip())
                return f"{path}: line {n}: column {name}: {shown} is not a number"
    return f"{path}: not a readable table"
