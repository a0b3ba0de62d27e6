"""`evenkeel simulate --scenario replay` on each kind of source, and what it refuses of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from evenkeel.adapters.traces.recorded import (
    About,
    RecordedHost,
    RecordedRows,
    RecordedVm,
    write_recorded,
)
from evenkeel.cli.main import app

T0, N_SLOTS, N_VMS = 1_800_000_000, 24, 12


def simulate(*words: object) -> Result:
    command = ["simulate", "--scenario", "replay", "--policy", "stay,best-fit", *map(str, words)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A dozen VMs on two hosts for two hours."""
    hosts = tuple(
        RecordedHost(f"h{k}", 8, 65_536.0, 10_000.0, 9000.0, "", float(T0)) for k in range(2)
    )
    vms = [RecordedVm(f"id{k}", f"web{k}", 2, 2048.0, "shop", "shop/2") for k in range(N_VMS)]
    slot, vm = np.divmod(np.arange(N_SLOTS * N_VMS), N_VMS)
    cpu = np.random.default_rng(1).uniform(0, 2, len(slot))
    demand = np.stack([cpu, np.full(len(slot), 1500.0), cpu, cpu], axis=1).astype(np.float32)
    rows = RecordedRows(T0 + 300 * slot, vms, vm, ["h0", "h1"], vm % 2, demand)
    path = tmp_path / "fleet.parquet"
    write_recorded(path, About(T0, T0 + 300 * N_SLOTS, 300, hosts), [rows])
    return path


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    n = 60
    columns = {
        "split": ["dev"] * n,
        "ts": 1_800_000 + 300 * (np.arange(n) // 6),
        "batch": np.arange(n) % 6 // 2,
        "vcpus": [1, 2, 4] * 20,
        "mem_gib": [1.75, 3.5, 7.0] * 20,
        "life_lo_s": [900] * n,
        "life_hi_s": [900] * n,
    }
    pq.write_table(pa.table(columns), tmp_path / "azure.parquet")
    return tmp_path / "azure.parquet"


def test_ones_own_fleet_on_its_own_hosts(fleet: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    result = simulate("--input", fleet, "--json", out, "--html", page)
    assert result.exit_code == 0, result.output
    found = told(out)
    assert found["detail"]["n_vms"] == N_VMS
    assert found["baselines"].keys() == {"stay", "best-fit"}
    assert found["metrics"]["stay.hosts_peak"] == 2
    assert "Hosts are not the source's" not in result.output
    assert "recording fleet.parquet · 12 VMs · 2 hosts · 2 hours" in page.read_text()
    assert "<bdi>web" in page.read_text()


def test_azure_with_demand_of_ones_own_fleet(fleet: Path, arrivals: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ("--format", "azure", "--input", arrivals, "--demand-from", fleet, "--json", out)
    result = simulate(*words, "--share", 0.5)
    assert result.exit_code == 0, result.output
    assert told(out)["detail"]["n_vms"] == 30
    notes = " ".join(note["text"] for note in told(out)["detail"]["notes"])
    assert "one VM of recording fleet.parquet" in notes
    assert "is an assumption" in notes
    again = simulate(*words, "--vms", 10)
    assert again.exit_code == 0, again.output
    assert told(out)["detail"]["n_vms"] == 10


def test_refusals(fleet: Path, arrivals: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(fleet.read_bytes()[:-50])
    azure = ("--format", "azure", "--input", arrivals)
    for words, said in (
        (("--input", cut), "damaged"),
        (("--input", arrivals), "no recording of a fleet"),
        (("--input", fleet, "--input", fleet), "2 files, where one is read"),
        (("--input", fleet, "--share", 0.5), "are of Azure's arrivals"),
        (("--input", fleet, "--demand-from", fleet), "are of Azure's arrivals"),
        ((*azure, "--share", 0), "a share of 0"),
        ((*azure, "--share", 0.5, "--vms", 3), "a share and a number"),
        ((*azure, "--demand-from", cut), "damaged"),
        ((*azure, "--demand-from", fleet, "--demand-format", "bitbrains"), "is missing"),
    ):
        out = tmp_path / "out.json"
        result = simulate(*words, "--json", out)
        assert result.exit_code == 2, (words, result.output)
        assert said in " ".join(result.output.split()), (words, result.output)
        assert "hint" in result.output
        assert not out.exists()
