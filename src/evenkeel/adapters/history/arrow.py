"""Demand vectors in Arrow form: one row a VM and time ahead, a column a quantile."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from evenkeel.domain.quantiles import N_QUANTILES, QUANTILES
from evenkeel.domain.rdv import RDV_VERSION, FleetDemand
from evenkeel.domain.resources import Resource

META: Final = b"evenkeel_rdv"
QUANTILE_COLUMNS: Final = tuple(f"q{round(100 * q):02d}" for q in QUANTILES)
_LABEL: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        pa.field("vm", _LABEL, nullable=False),
        pa.field("resource", _LABEL, nullable=False),
        pa.field("model", _LABEL, nullable=False),
        pa.field("origin", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("step_s", pa.float64(), nullable=False),
        pa.field("what", _LABEL, nullable=False),  # demand: in the slot that ends then; peak: until
        pa.field("ahead_s", pa.float64(), nullable=False),
        pa.field("now", pa.float64(), nullable=False),
        pa.field("capacity", pa.float64(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in QUANTILE_COLUMNS),
    ],
    metadata={META: str(RDV_VERSION).encode()},
)


def to_table(fleet: FleetDemand) -> pa.Table:
    """Rows VM by VM: its horizons, then its windows."""
    n, ahead_s = len(fleet.ids), (*fleet.horizons_s, *fleet.windows_s)
    rows = n * len(ahead_s)
    quantiles = np.concatenate([fleet.values, fleet.peaks], axis=1).reshape(rows, N_QUANTILES)
    what = np.repeat([0, 1], [len(fleet.horizons_s), len(fleet.windows_s)])
    columns: list[Any] = [
        _coded(np.repeat(np.arange(n), len(ahead_s)), list(fleet.ids)),
        _coded(np.zeros(rows), [fleet.resource.value]),
        _coded(np.zeros(rows), [fleet.model]),
        pa.array(np.full(rows, round(fleet.origin_s * 1000)), SCHEMA.field("origin").type),
        pa.array(np.full(rows, fleet.step_s)),
        _coded(np.tile(what, n), ["demand", "peak"]),
        pa.array(np.tile(np.array(ahead_s, np.float64), n)),
        pa.array(np.repeat(fleet.now, len(ahead_s))),
        pa.array(np.repeat(fleet.capacity, len(ahead_s))),
        *(pa.array(np.ascontiguousarray(quantiles[:, q])) for q in range(N_QUANTILES)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def from_table(table: pa.Table) -> FleetDemand | None:
    """What `to_table` took; None when there is no row. Raises ValueError for another form."""
    if (table.schema.metadata or {}).get(META) != str(RDV_VERSION).encode():
        raise ValueError(f"not a table of demand vectors of version {RDV_VERSION}")
    if not len(table):
        return None
    vms = table.column("vm").to_pylist()
    width = next((k for k, vm in enumerate(vms) if vm != vms[0]), len(vms))
    first = table.slice(0, width)
    what = np.array(first.column("what").to_pylist())
    ahead_s = first.column("ahead_s").to_numpy()
    n_horizons = int(np.sum(what == "demand"))
    quantiles = np.stack([table.column(name).to_numpy() for name in QUANTILE_COLUMNS], axis=1)
    shaped = quantiles.astype(np.float32).reshape(-1, width, N_QUANTILES)
    return FleetDemand(
        resource=Resource(first.column("resource")[0].as_py()),
        origin_s=first.column("origin")[0].value / 1000,
        step_s=float(first.column("step_s")[0].as_py()),
        horizons_s=tuple(ahead_s[:n_horizons].tolist()),
        windows_s=tuple(ahead_s[n_horizons:].tolist()),
        ids=tuple(vms[::width]),
        values=shaped[:, :n_horizons],
        peaks=shaped[:, n_horizons:],
        now=table.column("now").to_numpy()[::width].astype(np.float64),
        capacity=table.column("capacity").to_numpy()[::width].astype(np.float64),
        model=str(first.column("model")[0].as_py()),
    )


def _coded(codes: Any, names: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))
