"""`evenkeel forecast`, `models` and `train`, as a person and as a script meets them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.batches import a_batch, a_tick, a_vm
from tests.history_data import a_rollup
from typer.testing import CliRunner

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.adapters.store.store import SqlStore
from evenkeel.cli.forecast import FAN_HEIGHT, fan
from evenkeel.cli.main import app
from evenkeel.controller.ingest import Ingest
from evenkeel.domain.model import Horizon, ModelState
from evenkeel.domain.resources import Resource
from evenkeel.forecast.catalogue import CATALOGUE, Entry
from evenkeel.forecast.empirical import Empirical, FittedEmpirical
from evenkeel.sim.ticks import tick_panel


def test_forecast_says_odds_and_draws_a_fan(run) -> None:
    shown = run("forecast", "web1").output
    for words in ("CPU of web1", "Memory of web1", "chance that it needs", "within the hour"):
        assert words in shown
    for words in ("peak in 6 h", "━", "░"):
        assert words in shown
    assert "Memory" not in run("forecast", "web1", "--resource", "cpu").output
    told = json.loads(run("forecast", "web1", "--json").output)
    assert [each["resource"] for each in told["resources"]] == ["cpu", "memory"]
    nobody = run("forecast", "nobody")
    assert nobody.exit_code == 1
    assert "not_found" in nobody.output


def test_a_fan_of_nothing_is_drawn_too() -> None:
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    told = {"now": None, "demand": [{"ahead_s": 300, "quantiles": [0.0] * 5}] * 2}
    lines = fan(quantiles, told)
    assert len(lines) == FAN_HEIGHT + 1
    assert "━" in lines[-2].plain


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three days of a daily wave that ended lately."""
    root = tmp_path / "history"
    kept = ParquetHistory(root, 3600)
    last = int(time.time()) // 3600 - 1
    rng = np.random.default_rng(1)
    for k in range(72):
        level = 2 + np.sin(2 * np.pi * k / 24)
        rollup = a_rollup(0, {f"vm{i}": float(level * rng.gamma(20, 0.05)) for i in range(24)})
        slot_s = (last - 72 + k) * 3600
        object.__setattr__(rollup, "slot_s", slot_s)
        object.__setattr__(rollup, "step_s", 3600)
        kept.append(rollup)
    return root


def evenkeel(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def trained(history: Path, *more: str, code: int = 0) -> str:
    models = str(history.parent / "models")
    options = ("--history", str(history), "--models", models, "--slot-s", "3600")
    return evenkeel("train", "--resource", "cpu", *options, *more, code=code)


def test_a_model_that_does_not_win_stays_a_challenger(history: Path) -> None:
    told = json.loads(trained(history, "--model", "empirical", "--json"))
    assert not told["promoted"]
    assert told["champion"] == "empirical"
    assert told["scores"]["wql"] == pytest.approx(told["champion_scores"]["wql"])
    registry = FileModelRegistry(history.parent / "models")
    (record,) = registry.models(Resource.CPU)
    assert record.state is ModelState.CHALLENGER
    assert record.info.n_series == 24
    assert record.info.scores["wql"] == told["scores"]["wql"]
    assert registry.blob(record.info.id)


class Wise(Empirical):
    """Knows that the next hours are much like those of a day ago."""

    def fit(self, panels, targets, seed):
        return WiseFitted()

    def load(self, blob):
        return WiseFitted()


class WiseFitted(FittedEmpirical):
    def predict(self, panel, targets):
        forecast = FittedEmpirical(3600.0 * 24).predict(panel, targets)
        for k, horizon in enumerate(targets.horizons):
            center = panel.values[:, panel.n_slots - 24 + (horizon - 1) % 24]
            forecast.values[:, k] = center[:, None] * np.linspace(0.7, 1.35, 9)
        return forecast


def test_one_that_wins_serves_unless_told_not_to(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "wise", Entry(lambda *_: Wise()))
    said = trained(history, "--model", "wise", "--no-promote")
    assert "it wins." in said
    registry = FileModelRegistry(history.parent / "models")
    assert registry.line(Resource.CPU) == ()
    said = trained(history, "--model", "wise")
    assert "wins and serves now" in said
    champion = registry.line(Resource.CPU)
    assert len(champion) == 1
    assert "loses" in trained(history, "--model", "empirical")
    assert registry.line(Resource.CPU) == champion
    assert len(registry.models()) >= 2


def test_several_resources_are_contests_of_their_own(history: Path) -> None:
    told = json.loads(trained(history, "-r", "memory", "--model", "empirical", "--json"))
    assert [each["resource"] for each in told] == ["cpu", "memory"]
    assert len(FileModelRegistry(history.parent / "models").models()) == 2
    assert "no resource 'gpu'" in trained(history, "-r", "gpu", code=1)


@pytest.fixture
def ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A controller's database with the last twenty minutes of a host of 30 VMs."""
    url = f"sqlite:///{tmp_path}/controller.db"
    store = SqlStore(url)
    ingest = Ingest(store, SystemClock())
    vms = [a_vm(f"vm{k}") for k in range(30)]
    now_s = time.time()
    for k, column in enumerate(tick_panel(30, 240, np.random.default_rng(1)).values.T):
        told = a_tick(vms, now_s - 5 * (240 - k))
        demand = [[float(cpu), 100.0, 0.0, None] for cpu in column]
        tick = msgspec.structs.replace(told, demand=demand)
        ingest.accept(a_batch(k + 1, vms=None, tick=tick))
    store.close()
    monkeypatch.setenv("EVENKEEL_CONTROLLER__DATABASE_URL", url)
    return tmp_path / "models"


def test_a_short_model_is_learnt_from_the_ticks_and_serves_if_it_wins(ticks: Path) -> None:
    short = ("train", "--horizon", "short", "--models", str(ticks))
    told = json.loads(evenkeel(*short, "-r", "cpu", "--json"))
    assert told["won"]
    assert told["promoted"]
    assert told["champion"] == "short-built-in"
    assert told["scores"]["wql"] < told["champion_scores"]["wql"]
    assert told["horizons_s"] == [5, 10, 15, 30, 60]
    registry = FileModelRegistry(ticks)
    (record,) = registry.models()
    info = record.info
    assert (info.horizon, info.forecaster, info.step_s) == (Horizon.SHORT, "short", 5.0)
    assert info.id.startswith("cpu-")
    assert "-short-" in info.id
    assert registry.line(Resource.CPU, Horizon.SHORT) == (info.id,)
    assert registry.line(Resource.CPU) == ()
    again = json.loads(evenkeel(*short, "-r", "cpu", "--json"))
    assert not again["won"], "against itself"
    assert again["champion"] == info.id


def test_a_short_model_that_has_nothing_to_win_stays_a_challenger(ticks: Path) -> None:
    short = ("train", "--horizon", "short", "--models", str(ticks))
    assert "it loses" in evenkeel(*short, "-r", "memory")
    assert FileModelRegistry(ticks).line(Resource.MEMORY, Horizon.SHORT) == ()
    assert "short" in evenkeel(*short, "-r", "cpu", "--model", "list")
    assert "no forecaster 'auto'" in evenkeel(*short, "-r", "cpu", "--model", "auto", code=1)
    assert "history_too_short" in evenkeel(*short, "-r", "iops", code=1)


def test_train_says_what_is_missing(history: Path) -> None:
    assert "empirical" in trained(history, "--model", "list")
    assert "no forecaster 'oracle'" in trained(history, "--model", "oracle", code=1)
    empty = ("--history", str(history.parent / "none"), "--models", str(history.parent / "m"))
    assert "history_too_short" in evenkeel("train", "-r", "cpu", *empty, code=1)
