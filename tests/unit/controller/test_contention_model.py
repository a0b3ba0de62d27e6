"""Traits from all hosts to all: pooled, fetched, checked, and the same numbers on both sides."""

import hashlib

import msgspec
import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.agent.contending import REPLIES_TO_WAIT, Contending
from evenkeel.controller.contention_model import MODEL_EVERY_S, NAME, ContentionModel
from evenkeel.domain.errors import BatchInvalid, ControllerUnavailable, ModelNotFound
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId
from evenkeel.domain.quantiles import N_QUANTILES
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import Ahead, HostTick
from evenkeel.interference.fleet import FleetRows, FleetShape, score_fleet
from evenkeel.interference.kinds import Priors, expected
from evenkeel.sim.clock import SimClock
from evenkeel.sim.memory import MemoryTraits
from evenkeel.wire import (
    WIRE_VERSION,
    Batch,
    KindTraits,
    ServingModel,
    body_to_tick,
    decode_batch,
    encode,
    tick_to_body,
)

VMS = [a_vm("victim", [0], tenant="shop"), a_vm("noisy", [0], tenant="rude")]


def a_batch(host: str, traits: tuple[KindTraits, ...], epoch: str = "1", seq: int = 1) -> Batch:
    return Batch(
        WIRE_VERSION, Host(HostId(host), (0, 1), 4096.0), epoch, seq, 0.0, Mode.ACT, traits=traits
    )


def stays(tick: HostTick) -> Ahead:
    shape = (len(tick.vms), N_RESOURCES, 1, N_QUANTILES)
    quantiles = np.broadcast_to(tick.demand[:, :, None, None], shape).astype(np.float32)
    return Ahead((60.0,), quantiles, ("test",) * N_RESOURCES)


def learnt_on_a_host() -> tuple[KindTraits, ...]:
    """What an agent says after some minutes in which more was lost than physics says."""
    contending = Contending(MemoryTraits(), 7.5)
    said: tuple[KindTraits, ...] = ()
    window = a_window([])
    for i in range(60):
        tick = a_tick(5.0 * i, VMS, [0.6, 0.6], [0.5, 0.5])
        window = window.append(tick)
        contending.observe(window, tick, stays(tick))
        said = contending.report() or said
        assert contending.report() == ()
    return said


def test_agents_and_controller_give_the_same_numbers_with_the_same_model() -> None:
    model = ContentionModel(SimClock())
    model.hear(decode_batch(encode(a_batch("elsewhere", learnt_on_a_host()))))
    serving = model.serving()
    assert serving is not None
    agent = Contending(MemoryTraits(), 1e15)
    agent.follow(serving, model.blob)
    # VMs that are new on this host, of kinds that another host has learnt.
    vms = (a_vm("new1", [0], tenant="shop"), a_vm("new2", [0], tenant="rude"))
    host = a_host(2)
    ticks = [
        a_tick(float(i), vms, [0.5 + 0.02 * i, 0.9 - 0.03 * i], [np.nan] * 2) for i in range(5)
    ]
    ticks = [body_to_tick(host, tick_to_body(tick)) for tick in ticks]
    window = a_window(ticks)
    mine, _ = agent.observe(window, ticks[-1], stays(ticks[-1]))
    assert mine.predicted[CPU_AXIS].min() > 0.05

    traits = expected(vms, Priors.load(model.blob(serving.id))).traits()
    demand = np.stack([tick.demand.T for tick in ticks], axis=1)[None]
    rows = FleetRows(demand, np.zeros((1, N_RESOURCES, 5)), window.norm()[None])  # type: ignore[arg-type]
    shape = FleetShape.of([(host, vms)])
    batched = type(traits)(traits.sensitivity[None], traits.pressure[None])
    theirs = score_fleet(shape, rows, batched)
    np.testing.assert_array_equal(theirs.score[0], mine.score[..., :2].astype(np.float32))
    np.testing.assert_array_equal(theirs.predicted[0], mine.predicted.astype(np.float32))
    plain = score_fleet(shape, rows)
    assert theirs.score[0, CPU_AXIS].max() > 1.2 * plain.score[0, CPU_AXIS].max()


def test_the_model_changes_rarely_and_only_the_newest_word_of_a_host_counts() -> None:
    clock, said = SimClock(), learnt_on_a_host()
    model = ContentionModel(clock)
    assert model.serving() is None
    model.hear(a_batch("h1", said, seq=5))
    first = model.serving()
    assert first is not None
    assert first.id.startswith(NAME)
    model.hear(a_batch("h1", said, seq=4))
    model.hear(a_batch("h2", said))
    assert model.serving() == first
    clock.advance(MODEL_EVERY_S)
    second = model.serving()
    assert second is not None
    assert second.sha256 != first.sha256
    assert hashlib.sha256(model.blob(second.id)).hexdigest() == second.sha256
    assert model.blob(first.id), "an agent may be on its way to fetch it"
    clock.advance(MODEL_EVERY_S)
    model.hear(a_batch("h1", said, seq=5))
    assert model.serving() == second, "the same words give the same bytes"
    with pytest.raises(ModelNotFound):
        model.blob("contention-0")


def test_a_model_that_cannot_be_had_or_read_changes_nothing() -> None:
    agent = Contending(MemoryTraits(), 7.5)
    asked: list[str] = []

    def fetch(model_id: str) -> bytes:
        asked.append(model_id)
        if model_id == "gone":
            raise ControllerUnavailable("away")
        return b"nonsense"

    agent.follow(None, fetch)
    agent.follow(ServingModel(NAME, "gone", "0"), fetch)
    agent.follow(ServingModel(NAME, "gone", "0"), fetch)
    assert asked == ["gone"], "it is not asked for again at once"
    for _ in range(REPLIES_TO_WAIT):
        agent.follow(None, fetch)
    agent.follow(ServingModel(NAME, "short", "0"), fetch)
    assert asked == ["gone", "short"], "a wrong checksum is as good as none"
    for _ in range(REPLIES_TO_WAIT):
        agent.follow(None, fetch)
    damaged = ServingModel(NAME, "damaged", hashlib.sha256(b"nonsense").hexdigest())
    agent.follow(damaged, fetch)
    agent.follow(damaged, fetch)
    assert asked == ["gone", "short", "damaged"], "what is damaged for good is refused once"
    assert [kind for kind, _, _ in agent.news()] == ["contention_model_refused"]


@pytest.mark.parametrize(
    "traits",
    [
        KindTraits("k", [[0.0] * N_RESOURCES], [[0.0] * N_RESOURCES]),
        KindTraits("k", [[-1.0] * N_RESOURCES] * 2, [[0.0] * N_RESOURCES] * 2),
        KindTraits("k", [[1.0] * N_RESOURCES] * 2, [[9.0] * N_RESOURCES] * 2),
        KindTraits("k" * 999, [[1.0] * N_RESOURCES] * 2, [[0.0] * N_RESOURCES] * 2),
        KindTraits("k\nl", [[1.0] * N_RESOURCES] * 2, [[0.0] * N_RESOURCES] * 2),
    ],
)
def test_traits_that_cannot_be_are_refused_with_their_batch(traits: KindTraits) -> None:
    with pytest.raises(BatchInvalid):
        decode_batch(encode(a_batch("h1", (traits,))))


def test_an_older_agents_batch_is_taken_as_it_is() -> None:
    raw = msgspec.json.decode(encode(a_batch("h1", ())))
    del raw["traits"]
    assert decode_batch(msgspec.json.encode(raw)).traits == ()
