"""`evenkeel interference evaluate` from files to table and JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coruns import fairco2_rows, known_traits, ntua_rows, write_csv
from typer.testing import CliRunner

from evenkeel.cli.main import app
from evenkeel.interference.pairs import catalogue


@pytest.fixture(autouse=True)
def few_settings(monkeypatch):
    """The command is judged here, not how well baselines are tuned."""
    monkeypatch.setattr(catalogue, "BOOSTED", catalogue.BOOSTED[:1])
    monkeypatch.setattr(catalogue, "FOREST", catalogue.FOREST[:1])


def run(*args: object):
    return CliRunner().invoke(app, ["interference", "evaluate", *map(str, args)])


@pytest.fixture
def pairs(tmp_path) -> Path:
    return write_csv(tmp_path / "pairs.csv.gz", fairco2_rows(known_traits(4)))


@pytest.mark.parametrize(("split", "n"), [("unseen-workload", 28), ("unseen-pair", 16)])
def test_in_folds(pairs, tmp_path, split, n):
    found = tmp_path / "found.json"
    args = ("--format", "fairco2", "--train", pairs, "--test", pairs, "--split", split)
    said = run(*args, "--json", found)
    assert said.exit_code == 0, said.output
    told = json.loads(found.read_text())
    assert told["detail"]["n_tested"] == n == len(told["detail"]["co_runs"])
    assert {"mae", "mae.w0", "mae.log", "ratio.mae", "bias.loss"} <= set(told["metrics"])
    baselines = {"constant", "effects", "ridge", "forest", "boosted", "cpu-sum", "correlation"}
    assert baselines == set(told["baselines"])
    best = min(told["baselines"][name]["mae"] for name in baselines)
    assert told["metrics"]["ratio.mae"] == pytest.approx(told["metrics"]["mae"] / best)
    assert "…" not in said.output, "80 columns are enough"
    assert "traits over the best baseline" in said.output
    for b in told["detail"]["calibration"]:
        line = next(
            li for li in said.output.splitlines() if f"{b['low']:.0f}-{b['high']:.0f}" in li
        )
        assert line.split()[1:4] == [str(b["n"]), f"{b['predicted']:.1f}", f"{b['measured']:.1f}"]


def test_other_files_are_tested_where_they_are_new(tmp_path):
    co_runs = known_traits(4)
    rows = fairco2_rows(co_runs)
    old = write_csv(
        tmp_path / "o.csv", [r for r in rows if "w3" not in (r["victim"], r["partner"])]
    )
    whole, found = write_csv(tmp_path / "w.csv", rows), tmp_path / "found.json"
    args = ("--format", "fairco2", "--split", "unseen-workload", "--json", found)
    assert run(*args, "--train", old, "--test", whole).exit_code == 0
    told = json.loads(found.read_text())["detail"]
    assert told["n_tested"] == 7
    assert "9 co-runs of the test are seen" in told["notes"][0]
    nothing = run(*args, "--train", whole, "--test", old)
    assert nothing.exit_code == 1
    assert "everything in the test is in training too" in " ".join(nothing.output.split())


def test_ntua_by_campaign(tmp_path):
    tests, found = write_csv(tmp_path / "t.csv", ntua_rows()), tmp_path / "found.json"
    args = ("--format", "ntua", "--split", "unseen-campaign", "--folds", 0, "--json", found)
    said = run(*args, "--train", tests, "--test", tests)
    assert said.exit_code == 0, said.output
    told = json.loads(found.read_text())
    assert {"mae.log.c0", "ratio.mae.log", "ratio.mae.log.same_inputs"} <= set(told["metrics"])
    assert "…" not in said.output
    assert {"two-sigma", "forest+placement", "traits-placement"} <= set(told["baselines"])
    assert "residency" in told["detail"]["notes"][0]
    assert not told["detail"]["best_baseline"].endswith("+placement")


def test_what_is_refused(pairs, tmp_path):
    same = ("--train", pairs, "--test", pairs)
    refused = run("--format", "other", *same, "--split", "unseen-pair")
    assert refused.exit_code == 1
    assert "known: fairco2, ntua" in " ".join(refused.output.split())
    refused = run("--format", "fairco2", *same, "--split", "unseen-moon")
    assert "unknown split" in refused.output
    refused = run("--format", "fairco2", *same, "--split", "unseen-campaign")
    assert refused.exit_code == 2
    assert "nothing to leave out" in refused.output
    refused = run("--format", "ntua", *same, "--split", "unseen-pair")
    assert refused.exit_code == 2
    assert "missing" in refused.output
