"""The next slots, from the controller's forecasts to the agent's next minute."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from builders import a_vm
from tests.batches import ManualClock, a_batch
from tests.unit.agent.test_foresight import a_tick

from evenkeel.adapters.store.store import SqlStore
from evenkeel.agent.foresight import Foresight
from evenkeel.controller.ingest import Ingest
from evenkeel.controller.near import Latest, n_near_slots, slots_ahead
from evenkeel.domain.errors import BatchInvalid
from evenkeel.domain.quantiles import MEDIAN, N_QUANTILES
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import AXIS, CPU_AXIS, N_RESOURCES, Resource
from evenkeel.sim.memory import MemoryModels
from evenkeel.wire import SlotsAhead, decode_reply, encode

ORIGIN_S = 1_800_000_000.0
SPREAD = np.linspace(0.9, 1.1, N_QUANTILES, dtype=np.float32)


def forecast(resource: Resource = Resource.CPU, origin_s: float = ORIGIN_S) -> Latest:
    """VM a goes from .1 to 2 in the second slot, b stays; the third horizon is an hour."""
    levels = np.array([[0.1, 2.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    return Latest.of(
        FleetDemand(
            resource=resource,
            origin_s=origin_s,
            step_s=300.0,
            horizons_s=(300.0, 600.0, 3600.0),
            windows_s=(),
            ids=("a", "b"),
            values=levels[:, :, None] * SPREAD,
            peaks=np.empty((2, 0, N_QUANTILES), np.float32),
            now=np.full(2, np.nan),
            capacity=np.full(2, np.nan),
        )
    )


def fleet() -> dict[Resource, Latest]:
    return {Resource.CPU: forecast()}


def sent(latest=None, newer_than_s: float = 0.0, vms=("a", "b")) -> SlotsAhead | None:
    found = slots_ahead(latest or fleet(), [a_vm(vm) for vm in vms], 2, newer_than_s)
    return found and msgspec.json.decode(msgspec.json.encode(found), type=SlotsAhead)


@pytest.mark.parametrize(("slot_s", "n"), [(300.0, 2), (60.0, 3), (5.0, 18)])
def test_slots_reach_a_minute_past_the_next_forecast(slot_s: float, n: int) -> None:
    assert n_near_slots(slot_s, 20.0) == n


def test_what_the_controller_forecasts_reaches_the_agents_next_minute() -> None:
    agent = Foresight(MemoryModels(), ManualClock(), 5.0)
    slots = sent()
    assert slots is not None
    agent.hear(slots)
    assert agent.slots_origin_s == ORIGIN_S
    demand = np.full((2, N_RESOURCES), 0.1)
    for k in range(12):
        tick = replace(a_tick(demand), taken_at_s=ORIGIN_S + 200 + 5 * k)
        ahead = agent.observe(tick)
        cpu = ahead.quantiles[:, CPU_AXIS, :, MEDIAN]
        foreseen = ORIGIN_S + 200 + 5 * k + np.array(ahead.horizons_s) >= ORIGIN_S + 300
        np.testing.assert_allclose(cpu[0], np.where(foreseen, 2.0, 0.1), atol=0.05)
        np.testing.assert_allclose(cpu[1], 0.1, atol=1e-6)


def test_only_what_is_newer_is_sent() -> None:
    assert sent(newer_than_s=ORIGIN_S) is None
    assert sent(newer_than_s=ORIGIN_S - 1) is not None
    assert sent(vms=("nobody",)) is None
    assert slots_ahead({}, [a_vm("a")], 2, 0.0) is None


def test_a_resource_that_lags_behind_is_left_out() -> None:
    both = fleet() | {Resource.NET: forecast(Resource.NET, ORIGIN_S - 300)}
    slots = sent(both)
    assert slots is not None
    assert [bool(flat) for flat in slots.values[0]] == [r is Resource.CPU for r in AXIS]


def test_the_answer_to_a_batch_has_them_once(store: SqlStore, clock: ManualClock) -> None:
    def near(vms, newer_than_s):
        return slots_ahead(fleet(), vms, 2, newer_than_s)

    ingest = Ingest(store, clock, slots_ahead=near)
    batch = a_batch(1, vms=[a_vm("a")])
    first = decode_reply(encode(ingest.accept(batch)))
    assert first.slots_ahead is not None
    assert first.slots_ahead.vms == ("id-a",)
    again = msgspec.structs.replace(batch, seq=2, slots_origin_s=ORIGIN_S)
    assert ingest.accept(again).slots_ahead is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_s": 0.0},
        {"origin_s": float("nan")},
        {"vms": ("a",)},
        {"values": [[[1.0]] * N_RESOURCES] * 2},
        {"values": [[[-1.0] * N_QUANTILES] * N_RESOURCES] * 2},
        {"values": [[list(range(N_QUANTILES, 0, -1))] * N_RESOURCES] * 2},
        {"values": [[]] * 2},
    ],
    ids=["no length", "no origin", "a VM too few", "cut", "negative", "crossing", "no resource"],
)
def test_slots_that_cannot_be_are_refused_and_the_former_stay(wrong) -> None:
    agent = Foresight(MemoryModels(), ManualClock(), 5.0)
    slots = sent()
    assert slots is not None
    agent.hear(slots)
    damaged = msgspec.structs.replace(slots, **wrong)
    with pytest.raises(BatchInvalid):
        damaged.near()
    agent.hear(damaged)
    assert agent.slots_origin_s == ORIGIN_S
    assert [kind for kind, _, _ in agent.news()] == ["slots_ahead_refused"]
