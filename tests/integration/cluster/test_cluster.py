"""A Ray cluster of two nodes on this machine: the same results as without, whatever dies."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cluster_nodes import Cluster, free_port
from cluster_work import asleep, brief_auto, doubled, learnt, marks, slow_panel
from tests.history_data import a_rollup
from typer.testing import CliRunner, Result

import evenkeel
from evenkeel.adapters.cluster.workers import RayWorkers
from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.cli.main import app
from evenkeel.domain.errors import ClusterDiffers, ClusterLost, ClusterUnavailable
from evenkeel.forecast.base import Targets
from evenkeel.forecast.boosted import BoostedForecaster
from evenkeel.forecast.fleet import forecast_in_pieces
from evenkeel.forecast.workers import IN_TURN, Threads
from panels import fleet

pytestmark = pytest.mark.integration
TARGETS = Targets((1, 6), (12,))
STEP_S = 3600


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("ray"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> Iterator[RayWorkers]:
    with RayWorkers(cluster.address) as opened:
        yield opened


def evenkeel_says(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def killing(cluster: Cluster, folder: Path, least: int) -> threading.Thread:
    """Kills the second node as soon as it has begun `least` pieces of work."""

    def watch() -> None:
        raylet, end_s = cluster.second.raylet, time.monotonic() + 60
        while len(marks(folder, raylet)) < least and time.monotonic() < end_s:
            time.sleep(0.05)
        cluster.second.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_answers_come_in_order_with_reports_and_errors(workers: RayWorkers) -> None:
    told: list[str] = []
    assert list(workers.map(doubled, range(9), told.append)) == [2 * i for i in range(9)]
    assert set(told) <= {f"at {i}" for i in range(9)}
    assert told
    answers = workers.map(doubled, [12, 13, 14])
    assert next(answers) == 24
    with pytest.raises(ValueError, match="thirteen"):
        next(answers)
    assert list(workers.map(doubled, [1])) == [2]


def test_training_is_the_same_to_the_byte_with_pieces_inside_pieces(
    workers: RayWorkers, tmp_path: Path
) -> None:
    panels, seeds = [fleet(40, 500, seed=4)], [1, 2]
    here = list(IN_TURN.map(partial(learnt, tmp_path, IN_TURN, panels, TARGETS), seeds))
    there = list(workers.map(partial(learnt, tmp_path, workers, panels, TARGETS), seeds))
    assert here == there
    assert here[0] != here[1]


def test_a_node_killed_while_it_trains_changes_nothing(
    cluster: Cluster, workers: RayWorkers, tmp_path: Path
) -> None:
    panels = [fleet(40, 500, seed=4)]
    expected = brief_auto(tmp_path, IN_TURN).fit(panels, TARGETS, 7).save()
    raylet = cluster.second.raylet
    killer = killing(cluster, tmp_path, 1)
    found = brief_auto(tmp_path, workers, seconds=2.0).fit(panels, TARGETS, 7).save()
    killer.join()
    begun_there = marks(tmp_path, raylet)
    cluster.add_second()
    assert begun_there
    assert found == expected


def test_a_node_killed_under_a_fleet_forecast_changes_nothing(
    cluster: Cluster, workers: RayWorkers, tmp_path: Path
) -> None:
    panel = fleet(300, 400, seed=5)
    fitted = BoostedForecaster(rows=2000, rounds=3).fit([panel], TARGETS, 1)
    parts = [panel.only(np.arange(i, i + 20)) for i in range(0, 300, 20)]

    def forecasts(by, seconds: float) -> list[bytes]:
        pieces = [partial(slow_panel, tmp_path, part, seconds) for part in parts]
        found = forecast_in_pieces(fitted, pieces, TARGETS, by)
        return [f.values.tobytes() + f.peaks.tobytes() for f in found]

    expected = forecasts(Threads(2), 0.0)
    raylet = cluster.second.raylet
    killer = killing(cluster, tmp_path, 3)
    found = forecasts(workers, 0.4)
    killer.join()
    begun_there = marks(tmp_path, raylet)
    cluster.add_second()
    assert len(begun_there) >= 3
    assert found == expected


def test_backtest_says_the_same(cluster: Cluster, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for day in ("20110303", "20110306", "20110403"):
        (tmp_path / "days" / day).mkdir(parents=True)
        for vm in "abcdef":
            lines = "".join(f"{p}\n" for p in rng.poisson(20, 288))
            (tmp_path / "days" / day / f"host_{vm}_uni_web").write_text(lines)

    def told(name: str, *more: str) -> dict:
        path = tmp_path / name
        evenkeel_says(
            "backtest", "--format", "planetlab", "--train", str(tmp_path / "days"),
            "--train-days", "20110303,20110306",
            "--test", str(tmp_path / "days"), "--test-days", "20110403",
            "--horizons", "5m,60m", "--models", "empirical", "trailing-12h",
            "--json", str(path), *more,
        )  # fmt: skip
        return timeless(json.loads(path.read_text()))

    assert told("there.json", "--ray", cluster.address) == told("here.json")


def timeless(told):
    """Without times and memory."""
    if isinstance(told, dict):
        return {
            name: timeless(value)
            for name, value in told.items()
            if not name.startswith(("seconds", "rss_mib", "date", "time"))
        }
    return [timeless(each) for each in told] if isinstance(told, list) else told


@pytest.fixture
def history(tmp_path: Path) -> Path:
    kept = ParquetHistory(tmp_path / "history", STEP_S)
    last = int(time.time()) // STEP_S - 1
    rng = np.random.default_rng(1)
    for k in range(72):
        level = 2 + np.sin(2 * np.pi * k / 24)
        rollup = a_rollup(0, {f"vm{i}": float(level * rng.gamma(20, 0.05)) for i in range(4)})
        object.__setattr__(rollup, "slot_s", (last - 72 + k) * STEP_S)
        object.__setattr__(rollup, "step_s", STEP_S)
        kept.append(rollup)
    return tmp_path / "history"


def test_train_keeps_the_same_models(cluster: Cluster, history: Path, tmp_path: Path) -> None:
    def models(name: str, *more: str) -> list[tuple]:
        files = ("--history", str(history), "--models", str(tmp_path / name), "--slot-s", "3600")
        evenkeel_says("train", "-r", "cpu", "-r", "memory", "--model", "empirical", *files, *more)
        registry = FileModelRegistry(tmp_path / name)
        infos = [(record.info, registry.blob(record.info.id)) for record in registry.models()]
        return [(i.resource, i.sha256, i.scores, i.data_until_s, blob) for i, blob in infos]

    here = models("here")
    assert len(here) == 2
    assert models("there", "--ray", cluster.address) == here


def test_a_wrong_address_is_told_at_once(history: Path, tmp_path: Path) -> None:
    files = ("--history", str(history), "--models", str(tmp_path / "models"), "--slot-s", "3600")
    for address, why in ((f"127.0.0.1:{free_port()}", "refused"), ("nowhere", "invalid literal")):
        began_s = time.monotonic()
        said = evenkeel_says("train", "-r", "cpu", "--ray", address, *files, code=3)
        assert "cluster_unavailable" in said.stderr
        assert why in " ".join(said.stderr.split())
        assert "ray start --head" in said.stderr
        assert time.monotonic() - began_s < 20
    assert not FileModelRegistry(tmp_path / "models").models()


def test_a_node_with_other_code_is_refused(tmp_path: Path) -> None:
    source = Path(evenkeel.__file__).parent
    shutil.copytree(source, tmp_path / "other" / "evenkeel")
    with (tmp_path / "other" / "evenkeel" / "domain" / "ids.py").open("a") as file:
        file.write("\n# changed\n")
    other = Cluster(tmp_path, path=tmp_path / "other", alone=True)
    try:
        with RayWorkers(other.address) as opened, pytest.raises(ClusterDiffers) as raised:
            list(opened.map(doubled, [1]))
        assert "instead of" in raised.value.message
    finally:
        other.stop()


def test_a_cluster_that_goes_in_the_middle_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "4")
    gone = Cluster(tmp_path, alone=True)
    try:
        with RayWorkers(gone.address) as opened:
            killer = threading.Thread(target=_stop_once_begun, args=(gone, tmp_path))
            killer.start()
            with pytest.raises(ClusterLost, match="gone"):
                list(opened.map(partial(asleep, tmp_path), [1, 2]))
            killer.join()
            with pytest.raises(ClusterUnavailable):
                list(opened.map(doubled, [1]))
    finally:
        gone.stop()


def _stop_once_begun(cluster: Cluster, folder: Path) -> None:
    end_s = time.monotonic() + 60
    while not marks(folder, cluster.head.raylet) and time.monotonic() < end_s:
        time.sleep(0.05)
    cluster.stop()
