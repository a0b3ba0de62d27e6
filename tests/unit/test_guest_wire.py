"""Lines from strangers: whatever comes, the inbox is bounded and raises nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.domain.sample import Flaw
from evenkeel.guest_wire import MAX_BYTES, MAX_LINE, Inbox, parse

GOOD = {"v": 1, "t": 12.5, "work": 8, "ops": 4, "op_ms": 10.5, "cpu": 0.1, "memory": 0, "io": 1}


def encoded(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_a_report_is_read_as_it_was_meant() -> None:
    report = parse(encoded(psi=True, novelty="ignored"))

    assert report is not None
    assert (report.guest_s, report.work, report.ops, report.op_ms) == (12.5, 8, 4, 10.5)
    assert report.pressure == (0.1, 0.0, 1.0)


@pytest.mark.parametrize(
    "changes", [{"t": -1}, {"t": 1e11}, {"work": 1e19}, {"io": 1.01}, {"v": 0}]
)
def test_what_cannot_be_is_no_report(changes: dict[str, object]) -> None:
    assert parse(encoded()) is not None
    assert parse(encoded(**changes)) is None


@given(st.lists(st.binary(max_size=3000), max_size=30))
def test_any_bytes_are_taken_and_little_is_kept(chunks: list[bytes]) -> None:
    inbox = Inbox()
    for chunk in chunks:
        inbox.feed(chunk)
        assert len(inbox._tail) <= MAX_LINE
        assert 0 <= inbox.room <= MAX_BYTES
    inbox.take(1.0)
    assert inbox.room == MAX_BYTES


@given(st.integers(1, 40))
def test_where_chunks_are_cut_does_not_matter(size: int) -> None:
    stream = b"".join(encoded(t=k, work=10 * k) + b"\n" for k in range(1, 6))
    inbox = Inbox()
    for at in range(0, len(stream), size):
        inbox.feed(stream[at : at + size])
    reading = inbox.take(1.0)

    assert reading.report is not None
    assert reading.report.work == 50
    assert not reading.flaws


def test_a_clock_that_runs_ahead_of_the_hosts_gives_no_rates() -> None:
    inbox = Inbox()
    inbox.feed(encoded(t=10) + b"\n")
    assert inbox.take(100.0).report is not None
    inbox.feed(encoded(t=30) + b"\n")
    found = inbox.take(101.0)

    assert found.report is None
    assert found.flaws == {Flaw.PROFILER_TIME}


def test_a_vm_that_restarts_is_marked_once_and_heard_again() -> None:
    inbox = Inbox()
    said = []
    for k, t in enumerate((50.0, 51.0, 2.0, 3.0, 4.0)):
        inbox.feed(encoded(t=t) + b"\n")
        said.append(inbox.take(100.0 + k))

    assert [bool(r.flaws) for r in said] == [False, False, True, False, False]
    assert [r.report is not None for r in said] == [True, True, False, True, True]
