"""However batches are delayed, repeated and reordered, the same batches give the same state."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.batches import START_S, ManualClock, a_batch, a_mitigation, a_score, a_vm, an_event

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.ingest import Ingest
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.plan import MitigationState
from evenkeel.domain.reliability import N_BINS, Tally
from evenkeel.domain.resources import Resource
from evenkeel.domain.vm import VmState
from evenkeel.ports_store import Store
from evenkeel.wire import Batch

HOSTS, VMS = ("h1", "h2", "h3"), ("a", "b", "c")
STATES = (
    MitigationState.ADVISED,
    MitigationState.INTENDED,
    MitigationState.ACTIVE,
    MitigationState.VERIFIED,
    MitigationState.ROLLED_BACK,
)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A migrated, empty database to copy: a migration per example would take too long."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        SqlStore(f"sqlite:///{path}").close()
        yield path


@st.composite
def a_tally(draw: st.DrawFn, resource: Resource) -> Tally:
    bins = sorted(draw(st.sets(st.integers(0, N_BINS - 1), min_size=1, max_size=3)))
    n = [draw(st.integers(1, 500)) for _ in bins]

    def sums() -> tuple[int, ...]:
        return tuple(draw(st.integers(0, count * 100_000)) for count in n)

    horizon_s = draw(st.sampled_from((5.0, 60.0)))
    return Tally(resource, horizon_s, tuple(bins), tuple(n), sums(), sums(), sums())


@st.composite
def one_batch(draw: st.DrawFn, host: str, epoch: str, seq: int) -> Batch:
    here = draw(st.none() | st.sets(st.sampled_from(VMS)))
    vms = None
    if here is not None:
        states = [draw(st.sampled_from((VmState.RUNNING, VmState.PAUSED))) for _ in here]
        vms = [a_vm(name, state=state) for name, state in zip(sorted(here), states, strict=True)]
    scores = [a_score(name, "a", 1.0 + seq) for name in sorted(here or ())]
    state = STATES[min(len(STATES) - 1, draw(st.integers(0, 2)) + seq // 2)]
    mitigations = [a_mitigation(f"m-{epoch}", state, host, state_at_s=START_S - seq)]
    at_s = START_S + 1000 * (epoch == "e2") + 5 * seq + draw(st.integers(0, 3))
    tallies = [draw(a_tally(r)) for r in draw(st.sets(st.sampled_from(list(Resource))))]
    events = [an_event(f"told_{host}_{epoch}_{seq}") for _ in range(draw(st.integers(0, 2)))]
    return a_batch(
        seq,
        host,
        vms,
        epoch=epoch,
        at_s=at_s,
        scores=tuple(scores),
        mitigations=tuple(mitigations),
        events=tuple(events),
        reliability=tuple(tallies),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """A few hosts, each with a restart somewhere, in the order in which they were made."""
    batches = []
    for host in HOSTS[: draw(st.integers(1, 3))]:
        for epoch in ("e1", "e2"):
            for seq in range(1, draw(st.integers(1, 4)) + 1):
                batches.append(draw(one_batch(host, epoch, seq)))
    return batches


def state_after(template: Path, batches: list[Batch]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(template, Path(directory) / "c.db")
        store = SqlStore(f"sqlite:///{directory}/c.db")
        ingest = Ingest(store, ManualClock())
        for batch in batches:
            ingest.accept(batch)
        try:
            return current(store)
        finally:
            store.close()


def current(store: Store) -> dict[str, Any]:
    with store.read() as session:
        told = [record.event.kind for record in session.chronicle.events(limit=1000)]
        ids = [VmId(f"id-{name}") for name in VMS]
        return {
            "hosts": session.inventory.hosts(),
            "vms": [(r.vm, r.home) for r in session.inventory.vms(None, None)],
            "claims": session.inventory.claims(ids),
            "pairs": session.inventory.pairs(),
            "mitigations": sorted(session.chronicle.mitigations(), key=lambda m: (m.host, m.id)),
            "events": sorted(kind for kind in told if kind.startswith("told_")),
            "reliability": [
                session.reliability.sums(0.0, host) for host in (None, *map(HostId, HOSTS))
            ],
            "series": [session.history.series(i, 0, 2e9).at_s.tolist() for i in ids],
        }


@settings(max_examples=30)
@given(history=histories(), data=st.data())
def test_any_order_gives_the_same_state_and_each_event_once(
    template: Path, history: list[Batch], data: st.DataObject
) -> None:
    delivered = data.draw(st.permutations(history))
    again = data.draw(st.lists(st.sampled_from(history), max_size=6))
    for batch in again:
        delivered.insert(data.draw(st.integers(0, len(delivered))), batch)
    assert state_after(template, delivered) == state_after(template, history)
