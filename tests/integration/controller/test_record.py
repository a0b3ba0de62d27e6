"""A real controller hears of its fleet for some slots; `evenkeel record` writes it down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.batches import a_batch, a_tick, a_vm
from tests.controller_process import Controller, running

from evenkeel.adapters.traces.fleet import read_recorded
from evenkeel.domain.recording import NEVER
from evenkeel.wire import TickBody

pytestmark = pytest.mark.integration

N_SLOTS, MOVES, LEAVES, WAIT_S = 20, 7, 12, 30.0


def record(controller: Controller, token: str, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if "EVENKEEL" not in key}
    environ |= {"EVENKEEL_URL": controller.url, "EVENKEEL_TOKEN": token}
    command = [sys.executable, "-m", "evenkeel", "record", *args]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def demanding(names: dict[str, float], at_s: float) -> TickBody:
    tick = a_tick([a_vm(name, "shop") for name in names], at_s)
    demand = [[cpu, 100.0, 0.0, None] for cpu in names.values()]
    return TickBody(**{f: getattr(tick, f) for f in tick.__struct_fields__} | {"demand": demand})


def test_what_was_ingested_is_recorded_and_read_back(tmp_path: Path) -> None:
    quick = {"slot_s": "1", "grace_s": "0", "context_hours": "0.1"}
    database = f"sqlite:///{tmp_path}/controller.db"
    first_s = int(time.time()) - N_SLOTS - 10
    with running(tmp_path, database, forecast=quick) as controller:
        tokens = {host: controller.token("agent", host) for host in ("h1", "h2")}
        wanted = np.round(np.random.default_rng(1).random((3, N_SLOTS)), 3)
        for k in range(N_SLOTS):
            on: dict[str, dict[str, float]] = {"h1": {"db1": float(wanted[1, k])}, "h2": {}}
            on["h1" if k < MOVES else "h2"]["web1"] = float(wanted[0, k])
            if k < LEAVES:
                on["h2"]["job1"] = float(wanted[2, k])
            for host, vms in on.items():
                for part in (0.25, 0.75):
                    at_s = first_s + k + part
                    tick = demanding(vms, at_s)
                    seq = 2 * k + 1 + (part > 0.5)
                    batch = a_batch(seq, host, None, tick=tick, sent_at_s=time.time())
                    controller.deliver(batch, tokens[host])
        until = ("--last", "60s", "--until", str(first_s + N_SLOTS))
        told = recorded(controller, tmp_path / "fleet.parquet", *until)
        assert (told["start_s"], told["n_slots"], told["n_slots_missing"]) == (first_s, N_SLOTS, 0)
        assert (told["n_hosts"], told["n_vms"]) == (2, 3)
        assert told["n_rows"] == 2 * N_SLOTS + LEAVES
        denied = record(controller, controller.token("tenant", "shop"), str(tmp_path / "no"))
        assert denied.returncode == 4
        assert "forbidden" in denied.stderr
        assert not (tmp_path / "no").exists()
        controller.kill()
        gone = record(controller, controller.admin, str(tmp_path / "fleet.parquet"))
        assert gone.returncode == 3
        assert "controller_unavailable" in gone.stderr
    found = read_recorded(tmp_path / "fleet.parquet")
    rows = {name: found.vms.ids.index(name) for name in ("web1", "db1", "job1")}
    assert len(found.vms.ids) == 3
    for k in range(N_SLOTS):
        here = set(found.present(k).tolist())
        assert here == {rows[n] for n in ("web1", "db1")} | (
            {rows["job1"]} if k < LEAVES else set()
        )
        demand = found.demand.at(k)
        for name, row in zip(("web1", "db1", "job1"), wanted, strict=True):
            if rows[name] in here:
                expected = np.float32([row[k], 100.0, 0.0, np.nan])
                np.testing.assert_array_equal(demand[rows[name]].astype(np.float32), expected)
    assert found.vms.host[[rows["web1"], rows["job1"]]].tolist() == [0, 1]
    assert found.vms.leaves[[rows["web1"], rows["job1"]]].tolist() == [NEVER, LEAVES]
    assert "1 moves" in found.notes[0]


def recorded(controller: Controller, file: Path, *args: str) -> dict[str, int]:
    """Once all slots are in the history: they are rolled up every two seconds."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        ended = record(controller, controller.admin, str(file), "--json", *args)
        if ended.returncode == 0:
            told: dict[str, int] = json.loads(ended.stdout)
            if told["n_slots"] == N_SLOTS and not told["n_slots_missing"]:
                return told
        time.sleep(0.5)
    raise AssertionError(ended.stdout + ended.stderr)
