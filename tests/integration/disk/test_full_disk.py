"""A disk that is really full: the spool keeps going, the journal says so, both recover."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.journal_contract import mitigation
from tests.contract.spool_contract import take_all

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.adapters.disk.policy import FilePolicyMemory
from evenkeel.adapters.disk.spool import SqliteSpool
from evenkeel.domain.errors import JournalUnavailable
from evenkeel.domain.policy import Policy

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs, which takes root"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "evenkeel-test", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"b" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def test_spool_outlives_a_full_disk(disk: Path) -> None:
    spool = SqliteSpool(disk / "spool.db", 64 << 20)
    bodies = [b"%06d " % i + b"x" * 3000 for i in range(600)]
    for body in bodies[:50]:
        spool.put(body)
    ballast = fill(disk)
    for body in bodies[50:]:
        spool.put(body)
    assert (spool.n_batches(), spool.n_dropped()) == (600, 0), "the rest waits in memory"
    first = [spool.oldest() for _ in range(2)]
    assert first[0] == first[1]
    assert first[0] is not None
    assert first[0][1] == bodies[0]
    for i in range(30):
        found = spool.oldest()
        assert found is not None
        assert found[1] == bodies[i], "what is dropped while the disk is full does not come again"
        spool.drop(found[0])
    ballast.unlink()
    assert take_all(spool) == bodies[30:]
    spool.put(b"after")
    spool.close()
    again = SqliteSpool(disk / "spool.db", 64 << 20)
    assert take_all(again) == [b"after"], "on the disk again"
    again.close()


def test_spool_in_memory_is_bounded_and_counts(disk: Path) -> None:
    fill(disk)
    spool = SqliteSpool(disk / "spool.db", 1 << 20)
    for i in range(3000):
        spool.put(b"%06d " % i + b"x" * 1000)
    assert spool.n_batches() + spool.n_dropped() == 3000
    left = take_all(spool)
    assert 900 < len(left) < 1100
    assert left[-1].startswith(b"002999 ")
    spool.close()


def test_spool_started_on_a_full_disk_moves_there_later(disk: Path) -> None:
    ballast = fill(disk)
    spool = SqliteSpool(disk / "spool.db", 1 << 20)
    spool.put(b"one")
    ballast.unlink()
    spool.put(b"two")
    spool.close()
    again = SqliteSpool(disk / "spool.db", 1 << 20)
    assert take_all(again) == [b"one", b"two"]
    again.close()


def test_journal_refuses_on_a_full_disk_and_keeps_what_it_had(disk: Path) -> None:
    journal = SqliteJournal(disk / "journal.db")
    journal.record(mitigation("kept"))
    ballast = fill(disk)
    recorded = {"kept"}

    def record_until_it_fails() -> None:
        for i in range(5000):
            journal.record(replace(mitigation(f"m{i}"), reason="r" * 2000))
            recorded.add(f"m{i}")

    with pytest.raises(JournalUnavailable, match=r"journal\.db failed.*full"):
        record_until_it_fails()
    kept = {m.id for m in journal.open_mitigations()}
    assert kept == recorded
    ballast.unlink()
    journal.record(mitigation("later"))
    journal.close()
    again = SqliteJournal(disk / "journal.db")
    assert {m.id for m in again.open_mitigations()} == kept | {"later"}
    again.close()


def test_a_policy_that_does_not_fit_leaves_the_old_one(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = FilePolicyMemory(disk / "policy.json")
    memory.save(Policy(version=1))
    fill(disk)
    memory.save(Policy(version=2))
    assert "was not saved" in caplog.text
    assert memory.load() == Policy(version=1)
