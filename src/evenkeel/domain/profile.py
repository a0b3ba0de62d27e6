"""How a VM behaves: its class, when it wants more, for how long and how often."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Behaviour(StrEnum):
    STEADY = "steady-state"
    DIURNAL = "diurnal spike"
    BURST = "event-driven burst"
    CHAOTIC = "chaotic"
    UNKNOWN = "unknown"


BEHAVIOURS: Final = tuple(Behaviour)
"""Order of the codes in arrays: `BEHAVIOURS[code]`. The last is `unknown`."""

N_KNOWN: Final = 4
UNKNOWN: Final = BEHAVIOURS.index(Behaviour.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Profile:
    """Behaviour of one series. Hours and weekdays (0 = Monday) are local to the VM's calendar.

    `confidence` is the probability of `label` among the four, 0 when unknown. `peak_hours` and
    `weekdays` say when it spikes, empty for what does not spike by the clock. `burst_minutes` is
    the typical (median) length of a spike or burst, `bursts_a_day` how often one comes, both 0
    where there is none. `history_days` is how much of known demand this rests on.
    """

    label: Behaviour
    confidence: float
    peak_hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    burst_minutes: float
    bursts_a_day: float
    history_days: float

    def __str__(self) -> str:
        if self.label is Behaviour.UNKNOWN:
            return "not known yet: too little history"
        text = f"{self.label.value} ({self.confidence:.0%})"
        if self.peak_hours:
            text += f", {spans(self.peak_hours)}"
            if 0 < len(self.weekdays) < 7:
                text += " on " + " ".join(_DAYS[d] for d in self.weekdays)
        if self.bursts_a_day > 0:
            text += f", {self.bursts_a_day:.2g} a day of about {self.burst_minutes:.0f} min"
        return text


def spans(hours: tuple[int, ...]) -> str:
    """Hours of the day as spans: (22, 23, 0, 9) is "09-10 22-01"."""
    chosen = set(hours)
    if len(chosen) == 24:
        return "all day"
    starts = sorted(h for h in chosen if (h - 1) % 24 not in chosen)
    parts = []
    for start in starts:
        end = start
        while end % 24 in chosen:
            end += 1
        parts.append(f"{start:02d}-{(end - 1) % 24 + 1:02d}")
    return " ".join(parts)


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
