"""The store's ticks as a panel: on a grid as they came, held back ones marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.batches import START_S, ManualClock, a_batch

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller import ticks
from evenkeel.controller.ingest import Ingest
from evenkeel.controller.ticks import tick_panel
from evenkeel.domain.errors import HistoryTooShort
from evenkeel.domain.resources import Resource


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    store = SqlStore(f"sqlite:///{tmp_path}/controller.db")
    ingest = Ingest(store, ManualClock())
    for k in range(1, 201):
        if not 50 < k < 60:
            loss = 0.2 if k > 190 else 0.0
            jitter_s = 0.02 * (-1) ** k
            ingest.accept(a_batch(k, "h1", ("a", "b"), at_s=START_S + 5 * k + jitter_s, loss=loss))
        vms = ("c",) if k < 100 else ("c", "d")
        ingest.accept(a_batch(k, "h2", vms, at_s=START_S + 5 * k + 2.2))
    return store


def test_ticks_of_all_hosts_are_on_one_grid(store: SqlStore) -> None:
    panel = tick_panel(store, Resource.MEMORY, START_S, START_S + 1100)
    assert panel.step_s == 5.0
    assert sorted(panel.ids) == ["id-a", "id-b", "id-c", "id-d"]
    row = {vm: panel.values[k] for k, vm in enumerate(panel.ids)}
    assert 200 <= panel.n_slots <= 201
    assert np.isnan(row["id-a"]).sum() in (9, 10)
    assert (~np.isnan(row["id-d"])).sum() == 101
    assert set(panel.values[~np.isnan(panel.values)].tolist()) == {100.0}
    assert abs(panel.start_s - START_S - 5) < 0.1


def test_held_back_ticks_are_marked_and_others_are_left_out(store: SqlStore) -> None:
    panel = tick_panel(store, Resource.CPU, START_S + 500, START_S + 1100)
    assert panel.n_slots <= 102
    assert panel.censored is not None
    marked = {vm: int(panel.censored[k].sum()) for k, vm in enumerate(panel.ids)}
    assert marked == {"id-a": 10, "id-b": 10, "id-c": 0, "id-d": 0}


def test_of_too_many_the_newest_are_taken(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "MAX_CELLS", 50)
    monkeypatch.setattr(ticks, "PIECE_S", 50)
    panel = tick_panel(store, Resource.CPU, START_S, START_S + 1010)
    assert 10 <= panel.n_slots <= 25
    assert panel.end_s > START_S + 1000


def test_nothing_is_said(store: SqlStore) -> None:
    with pytest.raises(HistoryTooShort):
        tick_panel(store, Resource.CPU, START_S + 5000, START_S + 6000)
