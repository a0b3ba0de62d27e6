"""`evenkeel backtest` from files to tables, JSON and pictures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evenkeel.forecast.auto import AutoForecaster
from evenkeel.forecast.catalogue import CATALOGUE, Entry
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training

START_S = 1_375_315_200  # 2013-08-01 00:00 UTC
N_DAYS = 6


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model, trained for seconds only."""
    training = Training(epochs=1, rows_per_epoch=300, hidden=32)

    def make(*_: object) -> AutoForecaster:
        return AutoForecaster(lambda _: (NetworkForecaster(training=training),), judged_rows=200)

    monkeypatch.setitem(CATALOGUE, "auto", Entry(make))


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Three PlanetLab days of six VMs; two of them are only in the last."""
    rng = np.random.default_rng(1)
    for day, vms in (("20110303", "abcd"), ("20110306", "abcd"), ("20110403", "abcdxy")):
        (tmp_path / "days" / day).mkdir(parents=True)
        for vm in vms:
            percent = rng.poisson(20, 288)
            path = tmp_path / "days" / day / f"host_{vm}_uni_web"
            path.write_text("".join(f"{p}\n" for p in percent))
    return tmp_path / "days"


@pytest.fixture
def month(tmp_path: Path) -> Path:
    """Six days of ten Bitbrains VMs, one of which does nothing."""
    rng = np.random.default_rng(2)
    n, t = 10, N_DAYS * 288
    percent = rng.gamma(4, 5, (n, t))
    percent[3] = 0
    table = {
        "vm": np.repeat(np.arange(n), t),
        "ts": np.tile(START_S + 300 * np.arange(t), n),
        "cores": np.full(n * t, 2),
        "cpu_pct": percent.ravel(),
        "disk_rd_kbs": percent.ravel(),
        "disk_wr_kbs": percent.ravel(),
    }
    pq.write_table(pa.table(table), tmp_path / "month.parquet")
    return tmp_path / "month.parquet"


def test_planetlab_with_words_after_one_option(run, days, tmp_path):
    out = tmp_path / "out.json"
    result = run(
        "backtest", "--format", "planetlab",
        "--train", str(days / "20110303"), str(days / "20110306"),
        "--test", str(days / "20110403"),
        "--horizons", "5m", "60m,24h", "--models", "trailing-12h",
        "--json", str(out), "--plot", str(tmp_path / "plots"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "24h: no target" in result.stderr
    measured = json.loads(out.read_text())
    ours, others = measured["metrics"], measured["baselines"]
    assert {"last-value", "last-diff", "trailing-1d", "seasonal-naive"} <= set(others)
    assert "trailing-12h" not in others
    for name in ("wql.5m", "active.wql.60m", "unseen.wql.5m", "coverage.0.9", "mae.60m"):
        assert ours[name] > 0
        assert others["last-diff"][name] > 0
    best = min(of["wql.5m"] for of in [ours, *others.values()])
    assert ours["ratio.wql.5m"] == pytest.approx(ours["wql.5m"] / best)
    assert any(name.startswith("profile.") and ".coverage." in name for name in ours)
    assert measured["detail"]["n_origins"] == 24
    assert len(measured["detail"]["worst"]["last-diff"]["5m"]["vms"]) == 6
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        "coverage.png", "fans.png", "peaks.png", "profiles.png", "tail.png", "wql.png",
    }  # fmt: skip


def test_one_parquet_is_split_by_time_and_by_vms(run, month, tmp_path):
    out = tmp_path / "out.json"
    result = run(
        "backtest", "--format", "bitbrains", "--train", str(month), "--test", str(month),
        "--train-until", "2013-08-04", "--unseen", "0.2", "--seed", "3",
        "--horizons", "5m,24h", "--models", "last-diff", "trailing-1d", "--json", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    measured = json.loads(out.read_text())
    assert measured["detail"]["n_train_series"] == 8
    # Three days, an origin every 7 slots, all with their next slot inside.
    assert measured["detail"]["n_origins"] == 124
    assert measured["metrics"]["unseen.wql.24h"] > 0
    # All models of --models beside the first are opponents or listed apart.
    assert "trailing-1d" in measured["baselines"]


def test_disk_says_what_stands_in(run, month):
    result = run(
        "backtest", "--format", "bitbrains", "--train", str(month), "--test", str(month),
        "--test-from", "2013-08-05", "--resource", "iops", "--horizons", "5m",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "KB/s stand in" in result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "looking into the future"),
        (("--train-until", "2013-08-05", "--test-from", "2013-08-03"), "looking into the future"),
        (("--train-until", "someday"), "not a date"),
        (("--train-until", "2013-08-04", "--horizons", "7m"), "steps of five minutes"),
        (("--train-until", "2013-08-04", "--models", "crystal-ball"), "crystal-ball"),
        (("--train-until", "2013-08-04", "--time-zone", "Mars/Olympus"), "unknown time zone"),
        (("--train-until", "2010-01-01"), "nothing is left to train on"),
        (("--train-until", "2013-08-04", "--horizons", "30d"), "too short"),
    ],
)
def test_what_cannot_be_is_refused(run, month, more, said):
    result = run(
        "backtest", "--format", "bitbrains", "--train", str(month), "--test", str(month), *more
    )
    assert result.exit_code > 0
    assert said in " ".join(result.stderr.split())


def test_a_day_in_training_and_in_the_test_is_refused(run, days):
    both = ("--train", str(days), "--test", str(days))
    result = run("backtest", "--format", "planetlab", *both)
    assert result.exit_code == 1
    assert "looking into the future" in " ".join(result.stderr.split())
    split = ("--train-days", "20110303,20110306", "--test-days", "20110403")
    assert run("backtest", "--format", "planetlab", *both, *split).exit_code == 0


def test_a_wrong_file_is_named(run, days, month):
    result = run("backtest", "--format", "planetlab", "--train", str(month), "--test", str(days))
    assert result.exit_code == 2
    assert "column 'day' is missing" in " ".join(result.stderr.split())
    result = run("backtest", "--format", "bitbrains", "--train", str(month), "--test", str(days))
    assert "trace_invalid" in result.stderr
