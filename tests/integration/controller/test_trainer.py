"""`ProcessTrainer` with real processes: they end, fail, hang, are killed, and die with us."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.history_data import a_rollup

from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.adapters.models.process import ProcessTrainer
from evenkeel.config import ControllerConfig, ForecastConfig
from evenkeel.domain.errors import TrainingUnavailable
from evenkeel.domain.model import TrainingEnd
from evenkeel.domain.resources import Resource
from evenkeel.wiring.forecasts import training_options

CPU = Resource.CPU
REPORT = {
    "model": "cpu-1",
    "champion": "empirical",
    "won": True,
    "verdict": "won",
    "scores": {"wql": 0.1, "mae": 1.0},
    "champion_scores": {"wql": 0.2},
    "more": [1],
}
SLEEPS = (
    "import os, time; open(os.environ['PID_FILE'], 'w').write(str(os.getpid())); time.sleep(99)"
)


def trainer(folder: Path, code: str, timeout_s: float = 60.0, needed: tuple[str, ...] = ()):
    command = (sys.executable, "-c", code)
    return ProcessTrainer(folder, ("--seed", "2"), timeout_s, needed, command)


def ended(one: ProcessTrainer, seconds: float = 20.0) -> TrainingEnd:
    found: list[TrainingEnd] = []

    def look() -> bool:
        end = one.poll()
        found.extend([end] if end else [])
        return bool(end)

    wait_for(look, seconds)
    assert one.poll() is None, "it is told once"
    return found[0]


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    return tmp_path / "pid"


def pid_in(file: Path) -> int:
    wait_for(lambda: file.exists() and file.read_text())
    return int(file.read_text())


def test_a_training_runs_apart_and_says_who_won(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(sys.argv[1:], os.nice(0), os.getsid(0) == os.getpid(), "
        f"file=sys.stderr); print({json.dumps(json.dumps(REPORT))})"
    )
    one = trainer(tmp_path / "t", code)
    assert one.poll() is None
    one.start(CPU)
    end = ended(one)
    assert (end.resource, end.model, end.won, end.failure) == (CPU, "cpu-1", True, "")
    assert (end.wql, end.champion_wql, end.verdict) == (0.1, 0.2, "won")
    said = (tmp_path / "t" / "cpu.log").read_text()
    assert "['train', '--resource', 'cpu', '--json', '--seed', '2']" in said
    assert f"{min(19, os.nice(0) + 10)} True" in said


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import sys; print('error it broke\\nhint: x', file=sys.stderr); sys.exit(1)", "it broke"),
        ("raise OSError('the disk is full')", "OSError: the disk is full (exit code 1)"),
        ("import os; os.kill(os.getpid(), 9)", "it said nothing (killed by signal 9)"),
        ("print('{')", "its result cannot be read"),
    ],
)
def test_a_failure_has_its_last_words(tmp_path: Path, code: str, failure: str) -> None:
    one = trainer(tmp_path, code)
    one.start(CPU)
    assert failure in ended(one).failure
    one.start(Resource.NET)
    assert ended(one).resource is Resource.NET


def test_one_at_a_time_and_none_without_its_libraries(tmp_path: Path, pid_file: Path) -> None:
    one = trainer(tmp_path, SLEEPS)
    one.start(CPU)
    with pytest.raises(RuntimeError):
        one.start(CPU)
    one.stop()
    lacking = trainer(tmp_path, SLEEPS, needed=("json", "no_such_package"))
    with pytest.raises(TrainingUnavailable, match="no_such_package") as caught:
        lacking.start(CPU)
    assert "evenkeel[ml]" in str(caught.value.hint)


def test_one_that_hangs_is_ended(tmp_path: Path, pid_file: Path) -> None:
    one = trainer(tmp_path, SLEEPS, timeout_s=1.0)
    one.start(CPU)
    assert "took longer than 1 s" in ended(one).failure
    if pid_file.exists():
        assert not is_alive(pid_in(pid_file))


def test_stop_ends_the_training_and_its_workers(tmp_path: Path, pid_file: Path) -> None:
    worker = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])"
    one = trainer(tmp_path, worker)
    one.start(CPU)
    pid = pid_in(pid_file)
    one.stop()
    wait_for(lambda: not is_alive(pid))
    assert one.poll() is None


def test_kill_9_of_the_controller_is_the_end_of_the_training(
    tmp_path: Path, pid_file: Path
) -> None:
    controller = f"""
import sys, time
from pathlib import Path
from evenkeel.adapters.models.process import ProcessTrainer
from evenkeel.domain.resources import Resource
one = ProcessTrainer(Path({str(tmp_path)!r}), (), 60.0, (), (sys.executable, "-c", {SLEEPS!r}))
one.start(Resource.CPU)
time.sleep(99)
"""
    with subprocess.Popen([sys.executable, "-c", controller]) as parent:
        pid = pid_in(pid_file)
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    again = trainer(tmp_path, f"print({json.dumps(json.dumps(REPORT))})")
    again.start(CPU)
    assert ended(again).won, "what it left behind is in nobody's way"


def test_the_real_command_trains_a_model(tmp_path: Path) -> None:
    settings = ForecastConfig(slot_s=3600, retrain_model="empirical", horizons_s=(3600.0,))
    controller = ControllerConfig(state_dir=str(tmp_path))
    history = ParquetHistory(tmp_path / "history", 3600)
    last, rng = int(time.time()) // 3600 - 1, np.random.default_rng(1)
    for k in range(72):
        rollup = a_rollup(0, {f"vm{i}": float(rng.gamma(20, 0.05)) for i in range(24)})
        slot_s = (last - 72 + k) * 3600
        history.append(dataclasses.replace(rollup, slot_s=slot_s, step_s=3600))
    options = training_options(settings, controller, None)
    one = ProcessTrainer(tmp_path / "training", options, 120.0, ())
    one.start(CPU)
    end = ended(one, 120.0)
    assert not end.failure, (tmp_path / "training" / "cpu.log").read_text()
    assert not end.won
    assert end.champion == "empirical"
    (record,) = FileModelRegistry(tmp_path / "models").models(CPU)
    assert record.info.id == end.model
    assert record.info.validation
    assert len(record.info.validation.ids) == 24
