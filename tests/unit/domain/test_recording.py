"""A recording that a simulation takes: what it refuses, and what of it is wanted when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, NOWHERE, HostShape, Recorded, Recording, VmTable


def a_recording() -> Recording:
    values = np.full((2, 4, 3), 0.5, dtype=np.float32)
    values[0, 0] = [0.1, np.nan, 9.0]
    return Recording(
        source="made",
        start_s=0.0,
        slot_s=300.0,
        n_slots=3,
        hosts=(HostShape("h1", 4, 8192.0),),
        vms=VmTable(
            ids=("a", "b"),
            vcpus=np.array([2.0, 1.0]),
            memory_mib=np.array([512.0, 512.0]),
            arrives=np.array([0, 1]),
            leaves=np.array([NEVER, 2]),
            host=np.array([0, NOWHERE]),
            tenant=("", ""),
            kind=("", ""),
        ),
        demand=Recorded(values),
    )


def test_who_is_there_and_what_they_want() -> None:
    recording = a_recording()
    assert [recording.present(slot).tolist() for slot in range(3)] == [[0], [0, 1], [0]]
    assert recording.wanted(0)[0, 0] == pytest.approx(0.1)
    assert recording.wanted(1)[0, 0] == 0.0, "not known is nothing"
    assert recording.wanted(2)[0, 0] == 2.0, "no more than it has"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ids", ("a", "a")),
        ("ids", ("a", "b", "c")),
        ("vcpus", np.array([0.0, 1.0])),
        ("leaves", np.array([0, 2])),
        ("arrives", np.array([-1, 1])),
        ("host", np.array([1, NOWHERE])),
    ],
)
def test_what_does_not_fit_together_is_refused(column: str, value: object) -> None:
    recording = a_recording()
    with pytest.raises(TraceInvalid):
        replace(recording, vms=replace(recording.vms, **{column: value}))
