"""`evenkeel simulate` from a file to figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cloudsim_made import made_percent
from typer.testing import CliRunner, Result

from evenkeel.cli.main import app

METRICS = ("energy_kwh", "migrations", "unserved_pct", "slatah_pct", "pdm_pct", "bound_kwh")


def simulate(*words: object) -> Result:
    named = ["simulate", "--scenario", "cloudsim-planetlab", *map(str, words)]
    return CliRunner().invoke(app, named, env={"COLUMNS": "200"})


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Two days; the VMs of the first lie there in another order than that of their names."""
    percent = made_percent(24).astype(int)
    rows: list[dict[str, Any]] = [
        {"day": "20110303", "vm": f"vm{vm:02}", "cpu_pct": percent[vm].tolist()}
        for vm in np.random.default_rng(1).permutation(24)
    ]
    rows += [{"day": "20110306", "vm": "only", "cpu_pct": [7] * 288}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "days.parquet")
    return tmp_path / "days.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The first day in the original layout."""
    (tmp_path / "20110303").mkdir()
    for vm, row in enumerate(made_percent(24).astype(int)):
        (tmp_path / "20110303" / f"vm{vm:02}").write_text("\n".join(map(str, row)) + "\n")
    return tmp_path / "20110303"


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_figures_in_the_envelope(parquet: Path, tmp_path: Path) -> None:
    out = tmp_path / "lr.json"
    result = simulate("--input", parquet, "--day", 20110303, "--policy", "lr-mmt", "--json", out)
    assert result.exit_code == 0, result.output
    found = told(out)
    assert found["name"] == "simulate.cloudsim-planetlab"
    assert set(METRICS) <= set(found["metrics"])
    assert 0 < found["metrics"]["bound_kwh"] < found["metrics"]["energy_kwh"]
    assert found["detail"]["vms"] == 24
    assert len(found["detail"]["by_tick"]) == 287
    assert "energy_kwh" in result.output


def test_original_layout_gives_the_same(parquet: Path, folder: Path, tmp_path: Path) -> None:
    figures = []
    for words in (("--input", parquet, "--day", 20110303), ("--input", folder)):
        result = simulate(*words, "--policy", "thr-mmt", "--json", tmp_path / "out.json")
        assert result.exit_code == 0, result.output
        figures.append(told(tmp_path / "out.json")["metrics"])
    assert figures[0] == figures[1]


def test_order_counts_and_is_reproducible(parquet: Path, tmp_path: Path) -> None:
    found = []
    for order in ("name", "shuffle:1", "shuffle:1", "shuffle:2"):
        words = ("--input", parquet, "--day", 20110303, "--order", order, "--policy", "lr-mmt")
        assert simulate(*words, "--json", tmp_path / "out.json").exit_code == 0
        found.append(told(tmp_path / "out.json"))
    name, first, again, second = (each["metrics"] for each in found)
    assert first == again
    assert len({name["bound_kwh"], first["bound_kwh"], second["bound_kwh"]}) == 3
    assert [each["seed"] for each in found] == [None, 1, 1, 2]


def test_a_picture(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = simulate("--input", folder, "--policy", "dvfs", "--plot", tmp_path / "plots")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["20110303-name-dvfs.png"]


def test_refusals(parquet: Path, folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "20110309"
    short.mkdir()
    (short / "vm").write_text("7\n" * 200)
    wrong = tmp_path / "wrong.parquet"
    pq.write_table(pa.table({"day": ["20110303"], "vm": ["a"], "cpu": [[1, 2]]}), wrong)
    for words, said in (
        (("--input", parquet), "2 days are in there"),
        (("--input", parquet, "--day", 20110309), "day 20110309 is not in these files"),
        (("--input", tmp_path / "none.parquet"), "no such file"),
        (("--input", wrong), "column 'cpu_pct' is missing"),
        (("--input", short), "sample 200"),
        (("--input", folder, "--order", "random"), "order 'random'"),
    ):
        result = simulate(*words, "--policy", "dvfs")
        assert result.exit_code == 2, result.output
        assert said in result.output
        assert "trace_invalid" in result.output
        assert "hint" in result.output
    assert simulate("--input", folder, "--policy", "best").exit_code == 2
