"""Things that happened, for the append-only event log."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from evenkeel.domain.ids import HostId, VmId


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is a past-tense snake_case verb (`mitigation_applied`); `detail` is flat JSON."""

    at_s: float
    kind: str
    message: str
    severity: Severity = Severity.INFO
    host: HostId | None = None
    vm: VmId | None = None
    detail: dict[str, str | int | float | bool | None] = field(default_factory=dict)
