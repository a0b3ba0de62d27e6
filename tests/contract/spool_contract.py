"""What every Spool must do. Subclasses say how to make one of 64 KiB; the tests are the same."""

from __future__ import annotations

import pytest

from evenkeel.ports import Spool

MAX_BYTES = 1 << 16


def take_all(spool: Spool) -> list[bytes]:
    """Deliver everything, oldest first."""
    bodies = []
    while (found := spool.oldest()) is not None:
        bodies.append(found[1])
        spool.drop(found[0])
    return bodies


class SpoolContract:
    @pytest.fixture
    def spool(self) -> Spool:
        raise NotImplementedError

    def test_starts_empty(self, spool: Spool) -> None:
        assert spool.oldest() is None
        assert (spool.n_batches(), spool.n_dropped()) == (0, 0)

    def test_first_in_first_out(self, spool: Spool) -> None:
        for i in range(5):
            spool.put(b"batch %d" % i)
        assert spool.n_batches() == 5
        assert take_all(spool) == [b"batch %d" % i for i in range(5)]
        assert (spool.n_batches(), spool.n_dropped()) == (0, 0)

    def test_oldest_stays_until_dropped(self, spool: Spool) -> None:
        spool.put(b"a")
        spool.put(b"b")
        assert spool.oldest() == spool.oldest()

    def test_dropping_twice_or_the_unknown_is_harmless(self, spool: Spool) -> None:
        spool.put(b"a")
        spool.put(b"b")
        found = spool.oldest()
        assert found is not None
        spool.drop(found[0])
        spool.drop(found[0])
        spool.drop(10**9)
        assert take_all(spool) == [b"b"]
        assert spool.n_dropped() == 0

    def test_tickets_are_not_reused(self, spool: Spool) -> None:
        """A late drop of a batch already gone must not hit another one."""
        spool.put(b"a")
        found = spool.oldest()
        assert found is not None
        spool.drop(found[0])
        spool.put(b"b")
        spool.drop(found[0])
        assert take_all(spool) == [b"b"]

    def test_beyond_the_bound_the_oldest_go_and_are_counted(self, spool: Spool) -> None:
        bodies = [b"%05d" % i * 2000 for i in range(20)]
        for body in bodies:
            spool.put(body)
        kept = spool.n_batches()
        assert 2 <= kept < 20
        assert spool.n_dropped() == 20 - kept
        assert take_all(spool) == bodies[-kept:]

    def test_what_fits_nowhere_is_dropped(self, spool: Spool) -> None:
        spool.put(b"x" * (MAX_BYTES + 1))
        assert spool.oldest() is None
        assert spool.n_dropped() == 1
        spool.put(b"y")
        assert take_all(spool) == [b"y"]
