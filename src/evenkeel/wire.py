"""What an agent and its controller say to each other (JSON over HTTP), and nothing else.

A batch is level-triggered: it carries the host's whole present state (VMs, open mitigations,
scores above a floor), so a lost batch costs history of one tick and never correctness. Unknown
fields are ignored and new ones have defaults, so agents and controllers of neighbouring versions
understand one another. Arrays are (vm, resource) lists in `AXIS` order; null stands for NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec
import numpy as np

from evenkeel.decoding import decoder
from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.errors import BatchInvalid
from evenkeel.domain.events import Event
from evenkeel.domain.evidence import VictimEvidence
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.plan import Advice, Mitigation
from evenkeel.domain.policy import Policy
from evenkeel.domain.quantiles import N_QUANTILES
from evenkeel.domain.reliability import Tally, flaw_of
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.sample import Flaw, HostTick, NearSlots
from evenkeel.domain.score import Deviation, PairDeviation, PairScore
from evenkeel.domain.vm import Vm

WIRE_VERSION = 1
MAX_KINDS = 2000
MAX_KIND = 500
MAX_WEIGHT = 1e6
MAX_TRAIT = 3.0
"""Logs of traits are nearer to 0 than this."""

Matrix = list[list[float | None]]


class TickBody(msgspec.Struct, frozen=True):
    """A `HostTick` in columns; row k of every matrix belongs to `vms[k]`."""

    taken_at_s: float
    interval_s: float
    vms: tuple[Vm, ...]
    demand: Matrix
    usage: Matrix
    loss: Matrix
    self_limited: Matrix
    background: list[float | None]
    flaws: tuple[tuple[Flaw, ...], ...]
    psi: tuple[float | None, float | None, float | None]
    inside_loss: tuple[float | None, ...] | None = None
    """By row of `vms`: share of its work that a VM's own profiler says it did not get done."""


class Health(msgspec.Struct, frozen=True):
    """How the agent itself fares."""

    agent_version: str = ""
    tick_ms: float = 0.0
    spool_batches: int = 0
    spool_dropped: int = 0
    hypervisor_ok: bool = True
    problem: str = ""
    """Stable code of what is wrong now, or empty."""


class KindTraits(msgspec.Struct, frozen=True):
    """What a host's VMs of one kind say of its traits: rows are sensitivity and pressure, columns
    resources; sums of weights, and of weighted logs of traits."""

    kind: str
    weight: list[list[float]]
    total: list[list[float]]


class Batch(msgspec.Struct, frozen=True):
    """One tick of one host. (host.id, epoch, seq) names it: replaying it changes nothing.

    `epoch` is new at every agent start and grows with time; `seq` counts from 1 inside it.
    `mitigations` holds all that are open and those closed since the last acknowledged batch.
    `reliability` is what the minute counted that ended with this tick, and `pair_deviations` what
    deviates now.
    """

    v: int
    host: Host
    epoch: str
    seq: int
    sent_at_s: float
    mode: Mode
    tick: TickBody | None = None
    scores: tuple[PairScore, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    advice: tuple[Advice, ...] = ()
    mitigations: tuple[Mitigation, ...] = ()
    events: tuple[Event, ...] = ()
    health: Health = Health()
    slots_origin_s: float = 0.0
    """Origin of the slots ahead that the agent has; 0: none."""
    reliability: tuple[Tally, ...] = ()
    pair_deviations: tuple[PairDeviation, ...] = ()
    traits: tuple[KindTraits, ...] = ()
    """Once a minute, all that the host has learnt; empty in between."""
    evidence: tuple[VictimEvidence, ...] = ()


class ServingModel(msgspec.Struct, frozen=True):
    """A short model that serves: `GET /v1/models/{id}` has it.

    `resource` is text, so that an agent can skip a resource that it does not know.
    """

    resource: str
    id: str
    sha256: str


class SlotsAhead(msgspec.Struct, frozen=True):
    """The controller's forecast of a host's VMs, slot by slot from `origin_s` (wall clock) on.

    `values[vm][resource]` are quantiles of the mean demand in the first slots, slot after slot in
    one list (`QUANTILES` in their order); an empty list: not forecast.
    """

    origin_s: float
    step_s: float
    vms: tuple[str, ...]
    values: list[list[list[float]]]

    @classmethod
    def of(cls, origin_s: float, step_s: float, vms: Sequence[str], values: F64) -> SlotsAhead:
        """`values` (N, R, K, Q); a resource with a NaN is left out."""
        flat = np.round(values.reshape(*values.shape[:2], -1), 4)
        lists = [[[] if np.isnan(row).any() else row.tolist() for row in vm] for vm in flat]
        return cls(origin_s, step_s, tuple(vms), lists)

    def near(self) -> NearSlots:
        """As arrays. Raises BatchInvalid when they are no quantiles."""
        if not (np.isfinite(self.origin_s) and np.isfinite(self.step_s) and self.step_s > 0):
            raise BatchInvalid("slots ahead without an origin or a length")
        if len(self.values) != len(self.vms):
            raise BatchInvalid("slots ahead of other VMs than they name")
        return NearSlots(
            self.origin_s,
            self.step_s,
            {vm: _slots_of(lists) for vm, lists in zip(self.vms, self.values, strict=True)},
        )


class BatchReply(msgspec.Struct, frozen=True):
    """Sent only after the batch is durable. `policy` is the one the agent should follow now.

    `take_over` are changes that VMs brought along from other hosts: the agent should undo them.
    `short_models` are all that serve (the built-in rule where none is named); None: the controller
    does not say, and what the agent has stays. `slots_ahead` comes when the batch names an older
    origin than the newest.
    """

    accepted: bool
    duplicate: bool
    policy: Policy
    server_time_s: float
    take_over: tuple[Mitigation, ...] = ()
    short_models: tuple[ServingModel, ...] | None = None
    slots_ahead: SlotsAhead | None = None
    contention_model: ServingModel | None = None
    """Traits of kinds, pooled from all hosts; None: the controller has none to give."""


_encoder = msgspec.json.Encoder(order="deterministic")
_batch_decoder = functools.cache(lambda: decoder(Batch))
"""Made when first used: the agent never needs it, and it is large."""
_reply_decoder = functools.cache(lambda: decoder(BatchReply))


def encode(message: Batch | BatchReply) -> bytes:
    return _encoder.encode(message)


def decode_batch(raw: bytes) -> Batch:
    """Parse and check a batch. Raises BatchInvalid with the field and the reason."""
    try:
        batch = _batch_decoder().decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BatchInvalid(f"batch does not parse: {error}") from error
    if batch.v != WIRE_VERSION:
        raise BatchInvalid(f"wire version {batch.v} is not {WIRE_VERSION}")
    if batch.seq < 1:
        raise BatchInvalid(f"seq {batch.seq} is not positive")
    if batch.tick is not None:
        _check_tick(batch.tick)
    _check_traits(batch.traits)
    for tally in batch.reliability:
        if flaw := flaw_of(tally):
            raise BatchInvalid(f"reliability of {tally.resource.value}: {flaw}")
    return batch


def decode_reply(raw: bytes) -> BatchReply:
    try:
        return _reply_decoder().decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BatchInvalid(f"reply does not parse: {error}") from error


def _check_tick(tick: TickBody) -> None:
    n_vms = len(tick.vms)
    if len({vm.id for vm in tick.vms}) != n_vms:
        raise BatchInvalid("a VM appears twice in the tick")
    if not tick.interval_s > 0:
        raise BatchInvalid(f"interval_s {tick.interval_s} is not positive")
    if len(tick.flaws) != n_vms or len(tick.background) != N_RESOURCES:
        raise BatchInvalid("flaws or background do not match the tick's VMs and resources")
    for name in ("demand", "usage", "loss", "self_limited"):
        matrix: Matrix = getattr(tick, name)
        if len(matrix) != n_vms or any(len(row) != N_RESOURCES for row in matrix):
            raise BatchInvalid(f"{name} is not a {n_vms} x {N_RESOURCES} matrix")
        if any(value is not None and value < 0 for row in matrix for value in row):
            raise BatchInvalid(f"{name} holds a negative number")
    if any(value is not None and value > 1 for row in tick.loss for value in row):
        raise BatchInvalid("loss holds a share above 1")
    if tick.inside_loss is not None:
        if len(tick.inside_loss) != n_vms:
            raise BatchInvalid("inside_loss does not match the tick's VMs")
        if any(value is not None and not 0 <= value <= 1 for value in tick.inside_loss):
            raise BatchInvalid("inside_loss holds no share between 0 and 1")


def _check_traits(traits: tuple[KindTraits, ...]) -> None:
    if len(traits) > MAX_KINDS:
        raise BatchInvalid(f"traits of more than {MAX_KINDS} kinds")
    for one in traits:
        if len(one.kind) > MAX_KIND or "\n" in one.kind:
            raise BatchInvalid(f"a kind of more than {MAX_KIND} characters, or of several lines")
        for matrix in (one.weight, one.total):
            if len(matrix) != 2 or any(len(row) != N_RESOURCES for row in matrix):
                raise BatchInvalid(f"traits are not 2 x {N_RESOURCES} matrices")
        for weights, totals in zip(one.weight, one.total, strict=True):
            for weight, total in zip(weights, totals, strict=True):
                if not 0 <= weight <= MAX_WEIGHT or abs(total) > weight * MAX_TRAIT + 1e-6:
                    raise BatchInvalid(f"traits of {one.kind!r} cannot be")


def tick_to_body(tick: HostTick) -> TickBody:
    psi = [None if np.isnan(x) else round(x, 4) for x in tick.psi]
    return TickBody(
        taken_at_s=tick.taken_at_s,
        interval_s=tick.interval_s,
        vms=tick.vms,
        demand=_to_lists(tick.demand),
        usage=_to_lists(tick.usage),
        loss=_to_lists(tick.loss),
        self_limited=_to_lists(tick.self_limited),
        background=_to_lists(tick.background[None, :])[0],
        flaws=tuple(tuple(sorted(flaws)) for flaws in tick.flaws),
        psi=(psi[0], psi[1], psi[2]),
        inside_loss=None if tick.inside_loss is None else tuple(_to_list(tick.inside_loss)),
    )


def body_to_tick(host: Host, body: TickBody) -> HostTick:
    nan = float("nan")
    psi = [nan if x is None else x for x in body.psi]
    return HostTick(
        host=host,
        taken_at_s=body.taken_at_s,
        interval_s=body.interval_s,
        vms=body.vms,
        demand=_to_array(body.demand),
        usage=_to_array(body.usage),
        loss=_to_array(body.loss),
        self_limited=_to_array(body.self_limited),
        background=_to_array([body.background])[0],
        flaws=tuple(frozenset(flaws) for flaws in body.flaws),
        psi=(psi[0], psi[1], psi[2]),
        inside_loss=None if body.inside_loss is None else _to_row(body.inside_loss),
    )


def _to_lists(matrix: F64) -> Matrix:
    rounded = np.round(matrix, 5)
    out: Matrix = rounded.tolist()
    if np.isnan(rounded).any():
        out = [[None if x != x else x for x in row] for row in out]
    return out


def _to_list(row: F64) -> list[float | None]:
    return [None if x != x else x for x in np.round(row, 5).tolist()]


def _to_row(row: tuple[float | None, ...]) -> F64:
    return np.array([np.nan if x is None else x for x in row], dtype=np.float64)


def _to_array(matrix: Matrix) -> F64:
    rows = [[np.nan if x is None else x for x in row] for row in matrix]
    return np.array(rows, dtype=np.float64).reshape(len(matrix), N_RESOURCES)


def _slots_of(lists: list[list[float]]) -> F32:
    """(R, K, Q); NaN for a resource that is not forecast."""
    if len(lists) != N_RESOURCES:
        raise BatchInvalid("slots ahead of another number of resources")
    size = max(len(flat) for flat in lists)
    if size % N_QUANTILES or any(len(flat) not in (0, size) for flat in lists):
        raise BatchInvalid("slots ahead with a quantile too few")
    rows: F32 = np.array([flat or [np.nan] * size for flat in lists], dtype=np.float32)
    out = rows.reshape(N_RESOURCES, -1, N_QUANTILES)
    known = ~np.isnan(out).any(axis=(1, 2))
    if np.isinf(out).any() or (out[known] < 0).any() or (np.diff(out[known], axis=-1) < 0).any():
        raise BatchInvalid("slots ahead that are no quantiles of a demand")
    return out
