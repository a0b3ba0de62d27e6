"""Whatever is done to a spool: in order, each once, bounded; what is missing was counted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.adapters.disk.spool import SqliteSpool
from evenkeel.ports import Spool
from evenkeel.sim.memory import MemorySpool

MAX_BYTES = 20_000
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 9000)),
        st.tuples(st.sampled_from(("deliver", "peek", "restart")), st.just(0)),
    ),
    max_size=40,
)


def broken_laws(
    make: Callable[[], Spool], steps: list[tuple[str, int]], *, restarts: bool
) -> list[str]:
    """What a spool that goes through `steps` and is emptied then did not keep, in words."""
    spool = make()
    put: list[bytes] = []
    delivered: list[bytes] = []
    n_dropped_before = 0
    for step, size in steps:
        if step == "put":
            body = b"%06d" % len(put) + b"." * size
            put.append(body)
            spool.put(body)
        elif step == "restart" and restarts:
            n_dropped_before += spool.n_dropped()
            spool.close()
            spool = make()
        elif (found := spool.oldest()) is not None and step == "deliver":
            delivered.append(found[1])
            spool.drop(found[0])
    while (found := spool.oldest()) is not None:
        delivered.append(found[1])
        spool.drop(found[0])
    n_dropped = n_dropped_before + spool.n_dropped()
    spool.close()
    is_small = sum(map(len, put)) + 4200 * len(put) <= MAX_BYTES
    laws = {
        "in order, none twice": delivered == sorted(set(delivered)),
        "nothing but what was put": set(delivered) <= set(put),
        "what is missing was counted": len(delivered) + n_dropped == len(put),
        "nothing is dropped below the bound": delivered == put or not is_small,
    }
    return [law for law, is_kept in laws.items() if not is_kept]


@settings(max_examples=60)
@given(operations)
def test_disk_spool(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "spool.db"
        assert broken_laws(lambda: SqliteSpool(path, MAX_BYTES), steps, restarts=True) == []


@given(operations)
def test_memory_spool(steps: list[tuple[str, int]]) -> None:
    assert broken_laws(lambda: MemorySpool(MAX_BYTES), steps, restarts=False) == []


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=30))
def test_the_newest_survive_and_the_bound_holds(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "spool.db"
        spool = SqliteSpool(path, MAX_BYTES)
        for size in sizes:
            spool.put(b"." * size)
        kept = []
        while (found := spool.oldest()) is not None:
            kept.append(len(found[1]))
            spool.drop(found[0])
        spool.close()
        assert kept == sizes[len(sizes) - len(kept) :]
        assert sum(kept) <= MAX_BYTES
