"""The file of a recorded fleet: one Parquet file that others can read too (docs/operations.md).

One row a VM and slot in which the VM was there; what the whole fleet has in common (hosts, slots,
version) is JSON in the schema's metadata under `evenkeel_recording`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from evenkeel.adapters.disk.whole import write_whole
from evenkeel.domain.arrays import F32, Ints

if TYPE_CHECKING:
    import pyarrow as pa

VERSION: Final = 1
META: Final = b"evenkeel_recording"
DEMAND: Final = (
    "cpu_demand_cores",
    "memory_demand_mib",
    "net_demand_mbit_s",
    "iops_demand_per_s",
)
"""In the order of `domain.resources.AXIS`; the names are those of the telemetry history."""
LABELS: Final = ("vm", "name", "host", "tenant", "kind")


@dataclass(frozen=True, slots=True)
class RecordedHost:
    """Heard from last at `last_seen_s`, by the controller's clock. None: not known."""

    name: str
    cpus: int
    memory_mib: float
    net_mbit_s: float | None
    iops: float | None
    fault_domain: str
    last_seen_s: float


@dataclass(frozen=True, slots=True)
class RecordedVm:
    """A VM as it was last; `kind` is what it has in common with others."""

    vm: str
    name: str
    vcpus: int
    memory_mib: float
    tenant: str
    kind: str


@dataclass(frozen=True, slots=True)
class About:
    """What stands in the file's metadata: slots of `slot_s` seconds from `start_s` to `end_s`."""

    start_s: int
    end_s: int
    slot_s: int
    hosts: tuple[RecordedHost, ...]
    anonymous: bool = False
    evenkeel: str = ""
    v: int = VERSION


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRows:
    """N rows: `slot` (N,) UTC seconds, `demand` (N, R); who, and on which host ("": not known)."""

    slot: Ints
    vms: Sequence[RecordedVm]
    vm: Ints
    hosts: Sequence[str]
    host: Ints
    demand: F32


@dataclass(slots=True)
class Written:
    """What is in a file that was written."""

    n_rows: int = 0
    n_slots: int = 0
    vms: set[str] = field(default_factory=set)


def write_recorded(path: Path, about: About, pieces: Iterable[RecordedRows]) -> Written:
    """Write pieces (in the order of time, no slot in two) as they come, whole or not at all.

    Raises OSError, and whatever `pieces` raises; then what was at `path` is as it was.
    """
    written = Written()
    write_whole(path, lambda file: _write(file, about, pieces, written))
    return written


def schema(about: About) -> pa.Schema:
    """Columns and metadata. See docs/operations.md."""
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("slot", pa.timestamp("ms", tz="UTC"), nullable=False),
            *(pa.field(name, word, nullable=False) for name in LABELS),
            pa.field("vcpus", pa.int32(), nullable=False),
            pa.field("memory_mib", pa.float64(), nullable=False),
            *(pa.field(name, pa.float32(), nullable=False) for name in DEMAND),
        ],
        metadata={META: json.dumps(asdict(about), sort_keys=True).encode()},
    )


def _write(file: BinaryIO, about: About, pieces: Iterable[RecordedRows], written: Written) -> None:
    import pyarrow.parquet as pq

    form = schema(about)
    with pq.ParquetWriter(
        file,
        form,
        compression="zstd",
        use_dictionary=[name for name in form.names if name not in DEMAND],
        column_encoding=dict.fromkeys(DEMAND, "BYTE_STREAM_SPLIT"),
        write_page_checksum=True,
    ) as writer:
        for piece in pieces:
            if not len(piece.slot):
                continue
            writer.write_table(_table(piece, form))
            written.n_rows += len(piece.slot)
            written.n_slots += len(np.unique(piece.slot))
            written.vms.update(piece.vms[k].vm for k in np.unique(piece.vm).tolist())


def _table(piece: RecordedRows, form: pa.Schema) -> pa.Table:
    """Rows by VM and slot: a VM's numbers resemble those before, which is what compresses them."""
    import pyarrow as pa

    by_name = np.argsort(np.argsort([vm.vm for vm in piece.vms]))
    order = np.lexsort((piece.slot, by_name[piece.vm]))
    vm, host = piece.vm[order], piece.host[order]

    def words(values: Sequence[str], at: Ints) -> Any:
        codes = pa.array(at.astype(np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))

    columns: Mapping[str, Any] = {
        "slot": pa.array(piece.slot[order] * 1000, form.field("slot").type),
        "vm": words([one.vm for one in piece.vms], vm),
        "name": words([one.name for one in piece.vms], vm),
        "host": words(piece.hosts, host),
        "tenant": words([one.tenant for one in piece.vms], vm),
        "kind": words([one.kind for one in piece.vms], vm),
        "vcpus": pa.array(np.array([one.vcpus for one in piece.vms], np.int32)[vm]),
        "memory_mib": pa.array(np.array([one.memory_mib for one in piece.vms], np.float64)[vm]),
        **{name: pa.array(piece.demand[order, k]) for k, name in enumerate(DEMAND)},
    }
    return pa.Table.from_arrays([columns[name] for name in form.names], schema=form)
