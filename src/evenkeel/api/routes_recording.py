"""A recording of this fleet, in pieces: GET /v1/recording and below; `evenkeel record` joins them.

Arrays are little-endian bytes in base64, because a week of 10,000 VMs is 80 million numbers.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from evenkeel.api import cursor as cursors
from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import DEFAULT_LIMIT, MAX_LIMIT, Principal
from evenkeel.api.schemas import Body, Page
from evenkeel.api.services import services_of
from evenkeel.controller.recording import MAX_VMS, Recorder
from evenkeel.domain.errors import NotFound
from evenkeel.domain.resources import AXIS
from evenkeel.domain.rollup import kind_of
from evenkeel.records import HostRecord, VmRecord

router = APIRouter(prefix="/v1/recording", tags=["recording"], responses=ERROR_RESPONSES)
Operator = Annotated[Principal, Depends(ADMIN)]


class SpanOut(Body):
    """What is kept: whole slots from `start_s` to `end_s` (UTC), `n_kept` of them."""

    start_s: int
    end_s: int
    slot_s: int
    n_kept: int


class RecordedHostOut(Body):
    """Heard from last at `last_seen_s` (UTC). null: not known."""

    host: str
    cpus: int
    memory_mib: float
    net_mbit_s: float | None
    iops: float | None
    fault_domain: str
    last_seen_s: float


class VmsIn(Body):
    ids: list[Annotated[str, Field(max_length=200)]] = Field(max_length=MAX_VMS)


class RecordedVmOut(Body):
    vm: str
    name: str
    vcpus: int
    memory_mib: float
    tenant: str
    kind: str = Field(description="What it has in common with others: tenant and size.")


class VmsOut(Body):
    items: list[RecordedVmOut]


class PieceOut(Body):
    """Rows, one a VM and slot. `slots` (int64 UTC seconds), `vm` and `host` (int32 positions in
    the lists), `demand` (float32, row by row, the resources in their order; NaN: not known)."""

    vms: list[str]
    hosts: list[str]
    resources: list[str]
    n: int
    slot: str
    vm: str
    host: str
    demand: str


def _recorder(request: Request) -> Recorder:
    recorder = services_of(request).recorder
    if recorder is None:
        raise NotFound(
            "this controller keeps no telemetry history",
            hint="Set `forecast.enabled`; a recording is made of what is kept from then on.",
        )
    return recorder


History = Annotated[Recorder, Depends(_recorder)]


@router.get("", summary="What of a stretch of time is kept (administrators only)")
def span(
    request: Request,
    _: Operator,
    history: History,
    since_s: Annotated[float, Query(description="UTC epoch seconds.")],
    until_s: Annotated[float | None, Query(description="UTC epoch seconds; none: now.")] = None,
) -> SpanOut:
    until = services_of(request).clock.wall_s() if until_s is None else until_s
    found = history.span(since_s, until)
    return SpanOut(
        start_s=found.start_s, end_s=found.end_s, slot_s=found.slot_s, n_kept=found.n_kept
    )


@router.get("/hosts", summary="Hosts as a recording has them (administrators only)")
def hosts(
    _: Operator,
    history: History,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Page[RecordedHostOut]:
    after = str(cursors.decode(cursor, str)[0]) if cursor else ""
    records = history.hosts(after, limit)
    key = (records[-1].host.id,) if records else None
    return Page(
        items=[_host(record) for record in records],
        next=cursors.following(key, records, limit),
    )


@router.post("/vms", summary="VMs by id, those that left as well (administrators only)")
def vms(_: Operator, history: History, asked: VmsIn) -> VmsOut:
    """Those that are not known are left out."""
    return VmsOut(items=[_vm(record) for record in history.vms(asked.ids)])


@router.get("/slots", summary="Demand by VM and slot, an hour at most (administrators only)")
def slots(_: Operator, history: History, start_s: int, end_s: int) -> PieceOut:
    piece = history.piece(start_s, end_s)
    return PieceOut(
        vms=list(piece.vms),
        hosts=list(piece.hosts),
        resources=[resource.value for resource in AXIS],
        n=len(piece.slot),
        slot=_packed(piece.slot, "<i8"),
        vm=_packed(piece.vm, "<i4"),
        host=_packed(piece.host, "<i4"),
        demand=_packed(piece.demand, "<f4"),
    )


def _packed(values: np.ndarray[Any, Any], form: str) -> str:
    return base64.b64encode(values.astype(form).tobytes()).decode()


def _host(record: HostRecord) -> RecordedHostOut:
    host = record.host
    return RecordedHostOut(
        host=host.id,
        cpus=len(host.cpus),
        memory_mib=host.memory_mib,
        net_mbit_s=host.net_mbit_s,
        iops=host.iops,
        fault_domain=host.fault_domain,
        last_seen_s=record.last_seen_s,
    )


def _vm(record: VmRecord) -> RecordedVmOut:
    vm = record.vm
    return RecordedVmOut(
        vm=vm.id,
        name=vm.name,
        vcpus=vm.n_vcpus,
        memory_mib=vm.memory_mib,
        tenant=vm.tenant,
        kind=kind_of(vm),
    )
