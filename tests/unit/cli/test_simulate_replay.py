"""`evenkeel simulate --scenario replay` from files to a report, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cloudsim_made import made_percent
from typer.testing import CliRunner, Result

from evenkeel.adapters.traces.recorded import (
    About,
    RecordedHost,
    RecordedRows,
    RecordedVm,
    write_recorded,
)
from evenkeel.cli.main import app
from evenkeel.wiring.replay import POLICIES

ALL = ("energy_kwh", "host_hours", "hosts_peak", "migrations", "migrated_gib", "unserved_pct")
ALL += ("slatah_pct", "contended_vm_hours", "loss_p99_pct", "worst_vm_loss_pct", "refused")
ALL += ("mitigations", "rolled_back", *(f"unserved_pct.{r}" for r in ("cpu", "memory", "net")))
T0 = 1_800_000_000
WORDS = ("simulate", "--scenario", "replay", "--format", "planetlab")


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 VMs over two days."""
    path = tmp_path_factory.mktemp("days") / "days.parquet"
    percent = made_percent(40).astype(int)
    rows: list[dict[str, Any]] = [
        {"day": day, "vm": f"vm{vm:02}", "cpu_pct": percent[vm].tolist()}
        for day in ("20110303", "20110306")
        for vm in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def simulate(*words: object) -> Result:
    return CliRunner().invoke(app, [*WORDS, *map(str, words)], env={"COLUMNS": "200"})


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_all_policies_side_by_side(days: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    words = ("--day", 20110303, "--hours", 2, "--vm-size", "2x2048", "--host-kind", "8x32")
    result = simulate("--input", days, *words, "--json", out, "--html", page)
    assert result.exit_code == 0, result.output
    found = told(out)
    assert found["name"] == "simulate.replay"
    for policy in POLICIES:
        assert policy.split("-")[0] in result.output
        for name in ALL:
            assert f"{policy}.{name}" in found["metrics"]
    assert found["detail"]["n_slots"] == 24
    assert found["metrics"]["stay.migrations"] == 0
    assert found["metrics"]["stay.host_hours"] == pytest.approx(2 * 3)
    text = page.read_text()
    assert "<svg" in text
    assert "8 CPUs" in text, "what is assumed stands in the report"


def test_several_days_and_a_part_of_them(days: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ("--policy", "stay", "--json", out)
    assert simulate("--input", days, *words).exit_code == 0
    both = told(out)["detail"]
    assert both["n_slots"] == 2 * 288
    assert simulate("--input", days, "--from", "+6h", "--hours", 2, *words).exit_code == 0
    part = told(out)["detail"]
    assert (part["n_slots"], part["start_s"]) == (24, both["start_s"] + 6 * 3600)
    assert simulate("--input", days, "--from", "2011-03-03T06:00", *words).exit_code == 0
    assert told(out)["detail"]["start_s"] == part["start_s"]


def a_fleet(path: Path) -> Path:
    """What `evenkeel record` writes: three hosts, four VMs on two of them, for two hours."""
    hosts = tuple(RecordedHost(f"h{i}", 8, 65_536.0, 1000.0, None, "", T0) for i in range(3))
    about = About(T0, T0 + 24 * 300, 300, hosts)
    vms = [RecordedVm(f"uuid{i}", f"vm{i}", 4, 4096.0, "shop", "shop/4x4096MiB") for i in range(4)]
    slot, vm = (grid.ravel() for grid in np.meshgrid(np.arange(24), np.arange(4), indexing="ij"))
    demand = np.tile(np.array([3.0, 2000.0, 10.0, 50.0], np.float32), (len(vm), 1))
    rows = RecordedRows(T0 + slot * 300, vms, vm, ["h1", "h2"], vm // 3, demand)
    write_recorded(path, about, [rows])
    return path


def test_a_recording_of_a_fleet_is_replayed_on_its_own_hosts(tmp_path: Path) -> None:
    path, out = a_fleet(tmp_path / "fleet.parquet"), tmp_path / "out.json"
    words = ("simulate", "--scenario", "replay", "--input", path, "--policy", "stay,balance")
    result = CliRunner().invoke(app, [*map(str, words), "--json", str(out)])
    assert result.exit_code == 0, result.output
    found = told(out)["metrics"]
    # Three VMs that want 3 cores each on 8 CPUs, one by itself, and a host that is off.
    assert found["stay.host_hours"] == pytest.approx(2 * 2)
    assert 0.5 < found["stay.slatah_pct"] / 50 <= 1.01
    assert found["stay.unserved_pct.cpu"] > 100 * 1 / 12
    assert found["balance.migrations"] >= 1
    assert found["balance.unserved_pct.cpu"] < found["stay.unserved_pct.cpu"] / 5


def test_same_seed_same_bytes_in_any_process(days: Path, tmp_path: Path) -> None:
    """But for how long it took."""
    found = []
    for hash_seed in ("1", "2"):
        out, page = tmp_path / f"{hash_seed}.json", tmp_path / f"{hash_seed}.html"
        words = [*WORDS, "--input", days, "--day", "20110303", "--hours", "3", "--seed", "7"]
        words += ["--hosts", "2", "--host-kind", "16x64", "--json", out, "--html", page]
        subprocess.run(
            [sys.executable, "-m", "evenkeel", *map(str, words)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        )
        of_run = told(out)
        assert of_run.pop("seconds") > 0
        found.append((json.dumps(of_run), page.read_bytes()))
    assert found[0] == found[1]


def test_refusals_leave_nothing(days: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.parquet"
    pq.write_table(pa.table({"day": ["20110303"], "vm": ["a"], "cpu": [[1, 2]]}), wrong)
    out = tmp_path / "out.json"
    at = ("--input", days, "--day", 20110303)
    for words, said in (
        (("--input", days, "--day", 20110309), "day 20110309 is not in these files"),
        (("--input", wrong), "column 'cpu_pct' is missing"),
        (("--input", tmp_path / "none"), "no such file"),
        ((*at, "--policy", "stay,best"), "there is no policy 'best'"),
        ((*at, "--policy", ","), "no policy is named"),
        ((*at, "--host-kind", "huge"), "host kind 'huge'"),
        ((*at, "--host-kind", "0x4"), "host kind '0x4'"),
        ((*at, "--host-kind", "4x0.5"), "is larger than any host"),
        ((*at, "--overcommit", 0.5), "0.5 vCPUs for each CPU"),
        ((*at, "--vm-size", "large"), "VM size 'large'"),
        ((*at, "--vm-size", "1x0"), "0 MiB"),
        ((*at, "--from", "+30h"), "nothing is recorded then"),
        ((*at, "--from", "2010-01-01"), "nothing is recorded then"),
        ((*at, "--hours", 0), "nothing is recorded then"),
        ((*at, "--hours", "nan"), "nothing is recorded then"),
        ((*at, "--corun", wrong), "missing"),
        ((*at, "--order", "name"), "--order means nothing"),
        ((*at, "--html", tmp_path / "no" / "page.html"), "cannot be written"),
    ):
        result = simulate(*words, "--json", out)
        assert result.exit_code == 2, (words, result.output)
        assert said in " ".join(result.output.split()), (words, result.output)
        assert "hint" in result.output, words
        assert not out.exists()


def test_options_of_the_replay_mean_nothing_to_the_benchmark(days: Path) -> None:
    words = ("simulate", "--scenario", "cloudsim-planetlab", "--input", str(days), "--seed", "1")
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code != 0
    assert "--seed means nothing" in " ".join(result.output.split())
