"""When a guest of the co-run matrix is aged: it has read from its disk what fills its memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from evenkeel.domain.errors import LabError
from evenkeel.lab import matrix_run
from evenkeel.lab.guests import JOBS, Guest
from evenkeel.lab.matrix_plan import IDLE, POOLS
from evenkeel.lab.matrix_run import age


@dataclass
class Reader:
    """Stands in for a guest of 128 MiB; reads `mib_a_look` whenever it is asked how much."""

    name: str
    mib_a_look: int
    looks: int = 0
    knobs: dict[str, int] = field(default_factory=dict)
    knobs_at_rest: dict[str, int] | None = None

    def set_load(self, **knobs: int) -> None:
        assert self.knobs_at_rest is None
        self.knobs = knobs

    def disk_read_bytes(self) -> int:
        self.looks += self.knobs["job"] == JOBS.index("cached") and self.knobs["cpu"] == 100
        return (self.looks * self.mib_a_look) << 20

    def suspend(self) -> None:
        self.knobs_at_rest = self.knobs


def test_a_guest_is_aged_when_it_has_read_what_fills_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix_run.time, "sleep", lambda _: None)
    reader = Reader("small1", 50)
    age(cast(Guest, reader), 60)

    assert reader.looks == 3
    assert reader.knobs_at_rest == IDLE
    with pytest.raises(LabError, match="small1 has read 0 of 128 MiB"):
        age(cast(Guest, Reader("small1", 0)), 0.01)
    assert all(spec.disk_mib > spec.memory_mib for spec in POOLS.values()), "it never could"
