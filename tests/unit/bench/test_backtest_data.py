"""How origins of a backtest are spread."""

from __future__ import annotations

from math import gcd
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from evenkeel.bench.backtest_data import MAX_ORIGINS, Question, _every

DAY = 288
QUESTION = Question("bitbrains", (Path("a.csv"),), (Path("a.csv"),))


@given(n_slots=st.integers(1, 400 * DAY))
def test_every_minute_of_the_day_has_its_turn_however_long_the_trace(n_slots: int) -> None:
    notes: list[str] = []
    every = _every(QUESTION, n_slots, notes)
    assert gcd(every, DAY) == 1
    assert n_slots // every <= MAX_ORIGINS
    assert (every == 7) == (not notes)  # what differs from the default is told
