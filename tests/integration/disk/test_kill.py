"""kill -9 at any moment: nothing acknowledged is lost, nothing is corrupted, order holds."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.contract.spool_contract import take_all

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.adapters.disk.spool import SqliteSpool

pytestmark = pytest.mark.integration

WORKER = Path(__file__).with_name("worker.py")
N_KILLS = 20


def run_and_kill(directory: Path, first: int, after_s: float) -> list[tuple[str, int]]:
    """Start the worker, kill it `after_s` after it is ready; what it said, in order."""
    with subprocess.Popen(
        [sys.executable, str(WORKER), str(directory), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(after_s)  # the random moment itself, not a wait for something
        worker.kill()
        lines = worker.stdout.read().splitlines()
    assert worker.returncode == -9
    return [(verb, int(number)) for verb, number in (line.split() for line in lines)]


@pytest.mark.parametrize("seed", [20261])
def test_kill_at_random_moments(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    said: list[tuple[str, int]] = []
    for _ in range(N_KILLS):
        first = max((number for _, number in said), default=0) + 1
        said += run_and_kill(tmp_path, first, after_s=rng.uniform(0.0, 0.15))

        journal = SqliteJournal(tmp_path / "journal.db")
        is_open = {int(m.id[1:]) for m in journal.open_mitigations()}
        is_closed = {int(m.id[1:]) for m in journal.unreported()}
        journal.close()
        intended, closed = _numbers(said, "intended"), _numbers(said, "closed")
        in_flight = {number + 1 for number in intended} | {1}
        assert closed <= is_closed, f"seed {seed}"
        assert intended <= is_open | is_closed, f"seed {seed}"
        assert is_open | is_closed <= intended | in_flight, f"seed {seed}"

    assert len(_numbers(said, "put")) > 5 * N_KILLS, "the worker got something done"
    spool = SqliteSpool(tmp_path / "spool.db", 1 << 30)
    left = [int(body[:8]) for body in take_all(spool)]
    assert spool.n_dropped() == 0
    spool.close()
    assert left == sorted(set(left)), f"seed {seed}: in order, none twice"
    assert _numbers(said, "put") - _numbers(said, "taking") <= set(left), f"seed {seed}"
    assert not _numbers(said, "taken") & set(left), f"seed {seed}"


def _numbers(said: list[tuple[str, int]], verb: str) -> set[int]:
    return {number for each, number in said if each == verb}
