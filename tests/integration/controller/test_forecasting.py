"""Kill -9 while telemetry is rolled up and forecast: what is on the disk is whole and complete."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.batches import a_batch, a_tick, a_vm
from tests.controller_process import Controller

from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.domain.resources import Resource

pytestmark = pytest.mark.integration

N_SLOTS, TICKS_A_SLOT, N_KILLS, WAIT_S = 120, 3, 8, 30.0
QUICK = {"slot_s": "1", "grace_s": "0", "context_hours": "0.1"}


def test_after_any_number_of_kills_every_slot_is_there_once(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/controller.db"
    first_s = int(time.time()) - N_SLOTS - 60
    first = Controller(tmp_path, database, {"enabled": "0"})
    token = first.token("agent", "h1")
    for k in range(N_SLOTS * TICKS_A_SLOT):
        tick = a_tick([a_vm("web1"), a_vm("db1")], first_s + (k + 0.5) / TICKS_A_SLOT)
        first.post(a_batch(k + 1, vms=None, tick=tick, sent_at_s=time.time()), token)
    first.stop()
    for round_ in range(N_KILLS):
        controller = Controller(tmp_path, database, QUICK)
        time.sleep(0.15 + 0.11 * round_)
        controller.kill()
        told = ParquetHistory(tmp_path / "history", 1)
        assert not told.problems()
        panel = told.panel(Resource.CPU, first_s, first_s + N_SLOTS)
        assert set(panel.values[panel.values == panel.values].tolist()) <= {1.0}
    controller = Controller(tmp_path, database, QUICK)
    try:
        deadline = time.monotonic() + WAIT_S
        history = ParquetHistory(tmp_path / "history", 1)
        while time.monotonic() < deadline:
            if len(history.slots(first_s, first_s + N_SLOTS)) == N_SLOTS:
                break
            time.sleep(0.2)
        panel = history.panel(Resource.CPU, first_s, first_s + N_SLOTS)
        assert sorted(panel.ids) == ["id-db1", "id-web1"]
        assert (panel.values == 1.0).all()
        while time.monotonic() < deadline:
            answer = controller.get("/v1/vms/web1/forecast")
            if answer.status_code == 200:
                break
            time.sleep(0.2)
        assert answer.json()["resources"][0]["now"] == 1.0
        problems = controller.get("/v1/status").json()["problems"]
        assert [each for each in problems if "silent" not in each] == []  # there is no agent here
    finally:
        code, _ = controller.stop()
    assert code == 0
    assert not list((tmp_path / "history").rglob(".*.partial"))
    assert (tmp_path / "forecasts" / "calibration" / "cpu" / "empirical.npz").exists()
