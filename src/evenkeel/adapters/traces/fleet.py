"""A recording of one's own fleet (`evenkeel record`) as a `Recording`.

A VM is there where it has a row. Between two of its rows it was away if others on its host have
rows in that time; if nobody there has, the host or the controller was silent: that is a gap, and
the VM was there with a demand that is not known.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evenkeel.adapters.traces.base import columns_or_fail
from evenkeel.adapters.traces.gridded import (
    Grid,
    bridged,
    check_span,
    moves_of,
    recording_of,
)
from evenkeel.adapters.traces.recorded import DEMAND, LABELS, META, VERSION
from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NOWHERE, HostShape, Recording
from evenkeel.domain.resources import N_RESOURCES

if TYPE_CHECKING:
    import pyarrow as pa

HINT: Final = "Is it a file of `evenkeel record`, and was it copied whole?"
SIZES: Final = ("vcpus", "memory_mib")
CLOCKS_S: Final = 86_400
"""Slots are by the hosts' clocks, and when a host was heard from is by the controller's."""
MOST_CELLS: Final = 4_000_000_000
"""VMs x slots x resources that are held in memory: 16 GB."""


def read_recorded(path: Path) -> Recording:
    """Raises TraceInvalid with column and row for what is damaged, newer or not of this form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            about = _about(path, file.schema_arrow)
            columns_or_fail(path, ("slot", *LABELS, *SIZES, *DEMAND), file.schema_arrow.names)
            fleet = _Fleet(path, about, _n_vms(path, file))
            first_row = 0
            for k in range(file.num_row_groups):
                table = file.read_row_group(k)
                fleet.add(table, first_row)
                first_row += table.num_rows
        return fleet.recording()
    except TraceInvalid as error:
        hint = HINT if error.hint == TraceInvalid.default_hint else error.hint
        raise TraceInvalid(error.message, hint=hint) from error
    except FileNotFoundError as error:
        raise TraceInvalid(f"{path}: no such file", hint=HINT) from error
    except (OSError, pa.ArrowException) as error:
        raise TraceInvalid(f"{path}: damaged, or no Parquet file: {error}", hint=HINT) from error


def _about(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """The metadata, checked."""
    raw = (schema.metadata or {}).get(META)
    if raw is None:
        raise TraceInvalid(f"{path}: no recording of a fleet: {META.decode()!r} is missing")
    try:
        about = json.loads(raw)
        version = int(about["v"])
    except (ValueError, KeyError, TypeError) as error:
        raise TraceInvalid(f"{path}: metadata that cannot be read: {error}") from error
    if version > VERSION:
        raise TraceInvalid(
            f"{path}: a recording of version {version}; this Evenkeel reads up to {VERSION}",
            hint="Upgrade Evenkeel, or record with this one.",
        )
    try:
        about["told"] = [None not in (h["net_mbit_s"], h["iops"]) for h in about["hosts"]]
        about["seen_s"] = [float(h["last_seen_s"]) for h in about["hosts"]]
        about["hosts"] = [_shape(path, host) for host in about["hosts"]]
        for name in ("start_s", "end_s", "slot_s"):
            about[name] = int(about[name])
    except (ValueError, KeyError, TypeError) as error:
        raise TraceInvalid(f"{path}: metadata that does not fit together: {error!r}") from error
    span_s, slot_s = about["end_s"] - about["start_s"], about["slot_s"]
    if slot_s < 1 or span_s < slot_s or span_s % slot_s:
        raise TraceInvalid(f"{path}: metadata: {span_s} s are not whole slots of {slot_s} s")
    check_span(str(path), span_s)
    return dict(about)


def _shape(path: Path, host: dict[str, Any]) -> HostShape:
    plain = HostShape("", 1, 1.0)
    shape = HostShape(
        name=str(host["name"]),
        n_cpus=int(host["cpus"]),
        memory_mib=float(host["memory_mib"]),
        net_mbit_s=float(host["net_mbit_s"] or plain.net_mbit_s),
        iops=float(host["iops"] or plain.iops),
        fault_domain=str(host["fault_domain"]),
    )
    if not (shape.n_cpus > 0 and shape.memory_mib > 0):
        raise TraceInvalid(f"{path}: host {shape.name!r} has no CPUs or no memory")
    return shape


def _n_vms(path: Path, file: Any) -> int:
    """How many VMs there are, so that room is made once."""
    known: dict[str, int] = {}
    for k in range(file.num_row_groups):
        _coded(path, file.read_row_group(k, ["vm"]), "vm", known)
    if not known:
        raise TraceInvalid(f"{path}: row 1: there is none")
    return len(known)


class _Fleet:
    """Takes the file's row groups one by one."""

    def __init__(self, path: Path, about: dict[str, Any], n_vms: int) -> None:
        self._path = path
        self._about = about
        n_slots = (about["end_s"] - about["start_s"]) // about["slot_s"]
        if n_vms * n_slots * N_RESOURCES > MOST_CELLS:
            raise TraceInvalid(
                f"{path}: {n_vms:,} VMs over {n_slots:,} slots do not fit into memory",
                hint="Record a shorter stretch of time.",
            )
        self._values: F32 = np.full((n_vms, N_RESOURCES, n_slots), np.nan, np.float32)
        self._host = np.full((n_vms, n_slots), NOWHERE, np.intp)
        self._is_told: Bools = np.zeros((n_vms, n_slots), dtype=bool)
        self._vms: dict[str, int] = {}
        # What each VM was called, and how large it was, in its newest row.
        self._words = {name: np.full(n_vms, "", object) for name in ("name", "tenant", "kind")}
        self._sizes = {name: np.zeros(n_vms) for name in SIZES}
        self._newest = np.full(n_vms, -1, np.intp)

    def add(self, table: pa.Table, first_row: int) -> None:
        path = self._path
        vm = _coded(path, table, "vm", self._vms)
        slot = _slots(path, table, self._about, first_row)
        demand = np.stack([_numbers(path, table, name) for name in DEMAND], axis=1)
        bad = (demand < 0).any(axis=1) | np.isinf(demand).any(axis=1)
        if bad.any():
            row = first_row + int(np.argmax(bad)) + 1
            raise TraceInvalid(f"{path}: row {row}: a demand below 0 or without end")
        order = np.lexsort((slot, vm))
        self._no_row_twice(vm, slot, order, first_row)
        self._values[vm, :, slot] = demand
        self._host[vm, slot] = _hosts(path, table, self._about)
        self._is_told[vm, slot] = True
        last = order[np.append(np.diff(vm[order]) != 0, True)]
        last = last[slot[last] > self._newest[vm[last]]]
        self._newest[vm[last]] = slot[last]
        for name, sizes in self._sizes.items():
            sizes[vm[last]] = _numbers(path, table, name)[last]
        for name, words in self._words.items():
            known: dict[str, int] = {}
            codes = _coded(path, table, name, known)
            words[vm[last]] = np.array(list(known), object)[codes[last]]

    def _no_row_twice(self, vm: Ints, slot: Ints, order: Ints, first_row: int) -> None:
        """`order` is by VM and slot."""
        twice = self._is_told[vm, slot]
        as_before = (np.diff(vm[order]) == 0) & (np.diff(slot[order]) == 0)
        twice[order[1:][as_before]] = True
        if twice.any():
            row = int(np.argmax(twice))
            raise TraceInvalid(
                f"{self._path}: row {first_row + row + 1}: column 'vm': "
                f"{list(self._vms)[vm[row]]!r} has this slot already",
                hint="Two VMs have one name, or a stretch was joined twice.",
            )

    def recording(self) -> Recording:
        about = self._about
        shapes, n_assumed, place = _in_use(about, self._host)
        self._host = place[self._host]
        present, host = bridged(self._is_told, self._host, len(shapes))
        n_moves = int(np.count_nonzero(moves_of(present, host)))
        return recording_of(
            Grid(
                ids=_ids(self._words["name"].tolist(), list(self._vms)),
                values=self._values,
                present=present,
                vcpus=self._sizes["vcpus"][:, None],
                memory_mib=self._sizes["memory_mib"][:, None],
                tenant=tuple(self._words["tenant"].tolist()),
                kind=tuple(self._words["kind"].tolist()),
                host=host,
                hosts=shapes,
            ),
            source=f"recording {self._path.name}",
            start_s=float(about["start_s"]),
            slot_s=float(about["slot_s"]),
            notes=_notes(n_assumed, self._is_told, present, n_moves),
        )


def _coded(path: Path, table: pa.Table, name: str, known: dict[str, int]) -> Ints:
    import pyarrow as pa

    try:
        column = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
    except pa.ArrowException as error:
        raise TraceInvalid(f"{path}: column {name!r}: not words: {error}") from error
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    places = [known.setdefault(str(word), len(known)) for word in encoded.dictionary.to_pylist()]
    return np.asarray(np.array(places, np.intp)[encoded.indices.to_numpy().astype(np.intp)])


def _slots(path: Path, table: pa.Table, about: dict[str, Any], first_row: int) -> Ints:
    """Positions of the rows' slots. Raises TraceInvalid for one that is not of this recording."""
    import pyarrow as pa

    try:
        at_ms = table["slot"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise TraceInvalid(f"{path}: column 'slot': no instants: {error}") from error
    slot, rest = np.divmod(at_ms - about["start_s"] * 1000, about["slot_s"] * 1000)
    bad = (rest != 0) | (slot < 0) | (at_ms >= about["end_s"] * 1000)
    if bad.any():
        row = first_row + int(np.argmax(bad)) + 1
        raise TraceInvalid(f"{path}: row {row}: column 'slot': no slot of this recording")
    return np.asarray(slot, dtype=np.intp)


def _numbers(path: Path, table: pa.Table, name: str) -> F64:
    import pyarrow as pa

    try:
        values = table[name].cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise TraceInvalid(f"{path}: column {name!r}: not numbers: {error}") from error
    return np.asarray(values, dtype=np.float64)


def _hosts(path: Path, table: pa.Table, about: dict[str, Any]) -> Ints:
    """(N,) positions among the recorded hosts; "" is not known."""
    place = {shape.name: k for k, shape in enumerate(about["hosts"])} | {"": NOWHERE}
    known: dict[str, int] = {}
    codes = _coded(path, table, "host", known)
    for name in known:
        if name not in place:
            raise TraceInvalid(f"{path}: column 'host': {name!r} is not among the hosts")
    return np.array([place[name] for name in known], np.intp)[codes]


def _in_use(about: dict[str, Any], host: Ints) -> tuple[tuple[HostShape, ...], int, Ints]:
    """Hosts with rows, or heard from in that time; of how many something is assumed; and the new
    position of each old one (NOWHERE, which is -1, stays). The others are gone for long."""
    is_kept = np.array(about["seen_s"]) >= about["start_s"] - CLOCKS_S
    is_kept[np.unique(host[host != NOWHERE])] = True
    kept = np.flatnonzero(is_kept).tolist()
    place = np.append(np.cumsum(is_kept) - 1, NOWHERE)
    return tuple(about["hosts"][k] for k in kept), sum(not about["told"][k] for k in kept), place


def _ids(names: list[str], vms: list[str]) -> tuple[str, ...]:
    """A VM's name where no other has it, as on the command line; else its id."""
    n_of = Counter([*names, *vms])
    return tuple(
        name if name and (n_of[name] == 1 or name == vm) else vm
        for name, vm in zip(names, vms, strict=True)
    )


def _notes(n_assumed: int, is_told: Bools, present: Bools, n_moves: int) -> tuple[str, ...]:
    notes = [
        "A VM begins on the host that it was on in its first slot, and has the size that it "
        f"had last. The {n_moves:,} moves that the fleet itself made are not replayed."
    ]
    gaps = int(np.count_nonzero(present & ~is_told))
    if gaps:
        notes.append(
            f"{gaps:,} of {int(present.sum()):,} VM-slots are gaps, when a host or the controller "
            "was silent; their demand is not known and counts as 0."
        )
    if n_assumed:
        usual = HostShape("", 1, 1.0)
        notes.append(
            f"Of {n_assumed:,} hosts network or disk was not known: {usual.net_mbit_s:g} "
            f"Mbit/s and {usual.iops:g} operations a second are assumed."
        )
    return tuple(notes)
