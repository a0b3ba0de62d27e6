"""Azure's arrivals (Azure Public Dataset V1 as Parquet): when VMs came, how large, for how long.

Columns: `split`, `ts` (seconds from the trace's start), `batch` (a burst of one tenant; numbered
anew at every `ts`), `vcpus`, `mem_gib`, the lifetime's bin `life_lo_s` .. `life_hi_s` (-1: not
told) and, where it is there, `censored` (1: it was still there at the end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel.adapters.traces.base import columns_or_fail
from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid

NUMBERS: Final = ("ts", "batch", "vcpus", "mem_gib", "life_lo_s", "life_hi_s")
LAYOUT: Final = f"Parquet with split, {', '.join(NUMBERS)}; `dev` is the split with lifetimes."


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """N VMs by arrival, in columns (N,).

    `burst` numbers the bursts of one tenant from 0 in the order they came, `batch` is the trace's
    own number. `life_s` is the middle of the lifetime's bin; `stays`: longer than was watched.
    """

    start_s: F64
    life_s: F64
    vcpus: F64
    memory_gib: F64
    batch: Ints
    burst: Ints
    stays: Bools

    def __len__(self) -> int:
        return len(self.start_s)

    def only(self, which: Bools) -> Arrivals:
        """Those that are marked; bursts keep their numbers."""
        return Arrivals(*(getattr(self, name)[which] for name in self.__slots__))


def read_arrivals(path: Path, split: str = "dev") -> Arrivals:
    """Raises TraceInvalid with the column, or the row among those of `split`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(path).names
        columns_or_fail(path, ("split", *NUMBERS), found)
        wanted = [*NUMBERS, *(name for name in ("censored",) if name in found)]
        table = pq.read_table(path, columns=wanted, filters=[("split", "=", split)])
    except TraceInvalid as error:
        raise TraceInvalid(error.message, hint=LAYOUT) from error
    except (OSError, pa.ArrowException) as error:
        raise TraceInvalid(f"{path}: not a Parquet file: {error}", hint=LAYOUT) from error
    if not table.num_rows:
        raise TraceInvalid(f"{path}: no arrival of split {split!r}", hint=LAYOUT)
    columns = {name: _numbers(path, table[name], name) for name in wanted}
    _check(path, columns)
    order = np.argsort(columns["ts"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    start_s, batch = columns["ts"], columns["batch"].astype(np.intp)
    _, first, burst = np.unique(
        np.column_stack([start_s, batch]), axis=0, return_index=True, return_inverse=True
    )
    rank = np.empty(len(first), np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return Arrivals(
        start_s=start_s,
        life_s=(columns["life_lo_s"] + columns["life_hi_s"]) / 2.0,
        vcpus=columns["vcpus"],
        memory_gib=columns["mem_gib"],
        batch=batch,
        burst=rank[burst.reshape(-1)],
        stays=columns.get("censored", np.zeros(len(start_s))) > 0,
    )


def sampled(arrivals: Arrivals, share: float | None, n_vms: int | None, seed: int) -> Arrivals:
    """Whole bursts, drawn at random, of `share` of the VMs or of `n_vms` at most; None: all.

    A burst that would be too much is left out, and a smaller one may still come in. Raises
    TraceInvalid for a share or a number that cannot be, or when no burst is that small.
    """
    if share is not None and not 0 < share <= 1:
        raise TraceInvalid(f"a share of {share:g}", hint="--share is above 0, and at most 1.")
    if n_vms is not None and n_vms < 1:
        raise TraceInvalid(f"{n_vms} VMs", hint="--vms is 1 or more.")
    if share is not None and n_vms is not None:
        raise TraceInvalid("a share and a number of VMs", hint="Give --share or --vms.")
    if share is None and n_vms is None:
        return arrivals
    most = n_vms if n_vms is not None else max(1, round((share or 1.0) * len(arrivals)))
    size = np.bincount(arrivals.burst)
    taken, room = np.zeros(len(size), dtype=np.bool_), most
    for burst in np.random.default_rng(seed).permutation(len(size)).tolist():
        if size[burst] <= room:
            taken[burst] = True
            room -= int(size[burst])
    if not taken.any():
        raise TraceInvalid(
            f"no burst has at most {most} VMs", hint=f"--vms {int(size.min())} or more."
        )
    return arrivals.only(taken[arrivals.burst])


def _numbers(path: Path, column: Any, name: str) -> F64:
    import pyarrow as pa

    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise TraceInvalid(f"{path}: column {name!r}: not numbers: {error}", hint=LAYOUT) from error
    return np.asarray(numbers, dtype=np.float64)


def _check(path: Path, columns: dict[str, F64]) -> None:
    """Raises TraceInvalid for the first row that is no arrival."""
    rules: Sequence[tuple[Bools, str, str]] = (
        (~np.isfinite(columns["ts"]) | (columns["ts"] < 0), "ts", "no time"),
        (~(columns["vcpus"] > 0), "vcpus", "no vCPUs"),
        (~(columns["mem_gib"] > 0), "mem_gib", "no memory"),
        (~np.isfinite(columns["batch"]), "batch", "no batch"),
        (~(columns["life_lo_s"] >= 0), "life_lo_s", "no lifetime"),
        (~(columns["life_hi_s"] >= columns["life_lo_s"]), "life_hi_s", "ends before it begins"),
    )
    for bad, name, why in rules:
        if bad.any():
            row = int(np.argmax(bad))
            raise TraceInvalid(
                f"{path}: row {row + 1}: column {name!r}: {columns[name][row]:g}: {why}",
                hint=LAYOUT,
            )
