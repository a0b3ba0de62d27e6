"""The journal gives back every mitigation as it was recorded, over restarts too."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.domain.plan import OPEN_STATES, Mitigation

names = st.text(min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
pins = st.lists(st.lists(st.integers(0, 511), max_size=4).map(tuple), max_size=4).map(tuple)

mitigations = st.builds(
    Mitigation,
    id=names,
    host=names,
    target=names,
    victim=names,
    aggressor=names,
    reason=st.text(max_size=40),
    state_reason=st.text(max_size=40),
    created_at_s=numbers,
    expires_at_s=numbers,
    loss_before=numbers,
    predicted_loss=numbers,
    measured_loss=st.none() | numbers,
    state_at_s=numbers,
)


@settings(max_examples=60)
@given(st.lists(mitigations, max_size=6, unique_by=lambda m: m.id), st.data())
def test_round_trip(recorded: list[Mitigation], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        journal = SqliteJournal(path)
        for mitigation in recorded:
            journal.record(mitigation)
        journal.close()
        journal = SqliteJournal(path)
        expected_open = tuple(m for m in recorded if m.state in OPEN_STATES)
        closed = [m for m in recorded if m.state not in OPEN_STATES]
        assert journal.open_mitigations() == expected_open
        assert journal.unreported() == tuple(closed)
        carried = [m for m in closed if data.draw(st.booleans())]
        journal.mark_reported(tuple(carried))
        assert journal.unreported() == tuple(m for m in closed if m not in carried)
        assert journal.open_mitigations() == expected_open
        journal.close()
