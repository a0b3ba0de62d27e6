"""PlanetLab CPU traces (Park and Pai's CoMon; Beloglazov's selection): a panel for every day.

Layouts: Parquet with `day`, `vm`, `cpu_pct` (list of 288 a day), or the original: a folder a day
with a text file a VM, 288 lines, percent of the VM's CPU, five minutes apart from midnight; a
folder of such folders, a zip of either, or a single file. A day comes from the folder's name
(YYYYMMDD); an undated one begins at the epoch. A file that ends early is not known after its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.base import (
    Flaws,
    Source,
    clean,
    columns_or_fail,
    contents,
    counted,
    find_files,
)
from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.panel import Calendar, Panel
from evenkeel.domain.resources import Resource
from evenkeel.domain.trace import Reading, Trace

SLOTS_A_DAY: Final = 288

Rows = dict[str, dict[str, F64]]
"""Day -> VM -> percent of (288,)."""


def read_planetlab(
    paths: Sequence[Path],
    days: Sequence[str] = (),
    calendar: Calendar | None = None,
    unique: bool = False,
) -> Reading:
    """CPU in cores (capacity 1) of every day found, or of `days` alone, in their order.

    Of two VMs of one name and day the last counts, unless they are to be `unique`. Raises
    TraceInvalid with file and line (or row) for what is not in one of the layouts.
    """
    rows: Rows = {}
    offered: set[str] = set()
    flaws: Flaws = Flaws()
    for path in find_files(paths):
        if path.suffix.lower() == ".parquet":
            offered |= _read_parquet(path, rows, flaws, days, unique)
        else:
            for source in contents(path):
                day = _day_of(source)
                offered.add(day)
                if not days or day in days:
                    name = source.name.name
                    if unique and name in rows.get(day, {}):
                        raise _double(source.path, day, name)
                    _put(rows, flaws, day, name, _read_text(source))
    missing = [day for day in days if day not in rows]
    if missing or not rows:
        raise TraceInvalid(
            f"day {missing[0]} is not in these files" if missing else "no VM in these files",
            hint=f"They hold {', '.join(sorted(offered)) or 'no day'}.",
        )
    traces = [_trace(day, vms, calendar or Calendar(), flaws) for day, vms in sorted(rows.items())]
    return Reading(tuple(traces), counted(flaws))


def _day_of(source: Source) -> str:
    return source.name.parent.name.removesuffix(".zip") or "undated"


def kind_of(vm: str) -> str:
    """The slice a PlanetLab VM belongs to: the last two words of its name."""
    return "_".join(vm.strip().split("_")[-2:])


def _put(rows: Rows, flaws: Flaws, day: str, vm: str, percent: F64) -> None:
    vms = rows.setdefault(day, {})
    flaws["duplicate"] += SLOTS_A_DAY if vm in vms else 0
    vms[vm] = percent


def _trace(day: str, vms: dict[str, F64], calendar: Calendar, flaws: Flaws) -> Trace:
    ids = tuple(sorted(vms))
    percent = np.stack([vms[vm] for vm in ids])
    return Trace(
        label=day,
        panel=Panel(
            ids=ids,
            values=clean(percent / 100.0, flaws),
            start_s=_start_of(day),
            resource=Resource.CPU,
            capacity=np.ones(len(ids)),
            kinds=tuple(kind_of(vm) for vm in ids),
            calendar=calendar,
        ),
        grain=0.01,  # whole percents
    )


def _start_of(day: str) -> float:
    if not re.fullmatch(r"\d{8}", day):
        return 0.0
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _padded(values: Sequence[float] | F64) -> F64:
    whole = np.full(SLOTS_A_DAY, np.nan)
    whole[: len(values)] = values
    return whole


def _read_text(source: Source) -> F64:
    lines = source.content.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise TraceInvalid(f"{source.path}: line 1: empty file")
    if len(lines) > SLOTS_A_DAY:
        raise TraceInvalid(
            f"{source.path}: line {SLOTS_A_DAY + 1}: a day has {SLOTS_A_DAY} lines, "
            f"this file has {len(lines)}"
        )
    try:
        return _padded(np.array(lines, dtype=np.float64))
    except ValueError:
        for n, line in enumerate(lines, 1):
            try:
                float(line)
            except ValueError as error:
                raise TraceInvalid(
                    f"{source.path}: line {n}: {_shown(line)} is not a number (percent of CPU)"
                ) from error
        raise


def _shown(line: bytes) -> str:
    return repr(line[:40].decode("utf-8", "replace"))


def _double(where: str, day: str, vm: str) -> TraceInvalid:
    return TraceInvalid(
        f"{where}: two VMs of day {day} have one name, {vm!r}",
        hint="Give each file once; a day has each VM once.",
    )


def _read_parquet(
    path: Path, rows: Rows, flaws: Flaws, days: Sequence[str], unique: bool
) -> set[str]:
    """Put `days`, or all, into `rows`; returns which days the file has."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(path).names
        columns_or_fail(path, ("day", "vm", "cpu_pct"), found)
        table = pq.read_table(path, columns=["day", "vm", "cpu_pct"])
        table = table.set_column(0, "day", pc.cast(table["day"], pa.string()))
        offered = set(map(str, pc.unique(table["day"]).to_pylist()))
        if days:
            table = table.filter(pc.is_in(table["day"], pa.array(list(days))))
        lists = table["cpu_pct"].combine_chunks()
        flat = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    except (OSError, pa.ArrowException, AttributeError) as error:
        raise TraceInvalid(f"{path}: not a Parquet file of this trace: {error}") from error
    if len(lengths) and lengths.max() > SLOTS_A_DAY:
        row = int(lengths.argmax())
        raise TraceInvalid(
            f"{path}: row {row + 1}: column cpu_pct: {lengths[row]} values, a day has {SLOTS_A_DAY}"
        )
    ends = np.cumsum(lengths)
    names = zip(table["day"].to_pylist(), table["vm"].to_pylist(), strict=True)
    for (day, vm), end, length in zip(names, ends, lengths, strict=True):
        if unique and str(vm) in rows.get(str(day), {}):
            raise _double(f"{path}: column vm", str(day), str(vm))
        _put(rows, flaws, str(day), str(vm), _padded(flat[end - length : end]))
    return offered
