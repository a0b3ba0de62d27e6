"""Numbers, times and codes in words a person reads: the filters of the templates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.host import Mode
from evenkeel.domain.plan import ActionKind, MitigationState
from evenkeel.domain.resources import SPECS, Resource

DASH: Final = "–"

MODE_MEANS: Final = {
    Mode.OBSERVE: "scores only",
    Mode.ADVISE: "shows what it would do",
    Mode.ACT: "carries fixes out",
}
ACTION_WORDS: Final = {
    ActionKind.PIN_APART: "pin apart",
    ActionKind.BOOST: "priority boost",
    ActionKind.QUOTA: "CPU quota",
    ActionKind.PROBE: "probe",
}
STATE_WORDS: Final = {
    MitigationState.ADVISED: "advised, not done",
    MitigationState.INTENDED: "being applied",
    MitigationState.ACTIVE: "active, being measured",
    MitigationState.VERIFIED: "helped",
    MitigationState.INEFFECTIVE: "did not help, undone",
    MitigationState.ROLLED_BACK: "undone",
    MitigationState.REFUSED: "refused, nothing changed",
    MitigationState.ABANDONED: "given up, nothing left",
}
HEAT_BOUNDS: Final = (1.0, 5.0, 10.0, 20.0, 40.0, 70.0)
"""Lower ends of the heat map's six colours; below the first a cell stays blank."""


def percent(share: float | None) -> str:
    """Share 0-1 -> "40 %"; a share that is not zero never reads as 0 %."""
    if share is None:
        return DASH
    if 0 < share < 0.005:
        return "<1\u202f%"
    return f"{100 * share:.0f}\u202f%"


def percent_point(share: float) -> str:
    """With a digit behind the point: "4.3 %"."""
    return f"{100 * share:.1f}\u202f%"


def amount(value: float | None, unit: str = "") -> str:
    """Three significant digits and the unit."""
    if value is None:
        return DASH
    if abs(value) >= 100:
        text = f"{value:,.0f}".replace(",", "\u202f")
    elif abs(value) >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    return f"{text}\u202f{unit}" if unit else text


def memory(mib: float) -> str:
    return f"{mib / 1024:.3g}\u202fGiB" if mib >= 1024 else f"{mib:.0f}\u202fMiB"


def duration(seconds: float) -> str:
    """The largest unit that fits: "12 s", "3 min", "5 h", "2 d"."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size < 3600 and seconds >= size):
            return f"{seconds / size:.0f}\u202f{unit}"
    return f"{seconds:.0f}\u202fs"


def clock(at_s: float) -> str:
    """UTC time of day."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def heat_level(score: float) -> int:
    """0 (blank) to 6 (darkest)."""
    return sum(score >= bound for bound in HEAT_BOUNDS)


def resource_label(resource: Resource) -> str:
    return SPECS[resource].label


def resource_letter(resource: Resource) -> str:
    """One letter for a crowded cell: C, M, N, D."""
    return SPECS[resource].label[0].upper()


def sentence(text: str) -> str:
    """First letter up, the rest as it is (VM names keep their case)."""
    return text[:1].upper() + text[1:]


def spaced(code: str) -> str:
    return code.replace("_", " ")


def problem_hint(code: str) -> str:
    """What to do about a stable error code: the default hint of the error that carries it."""
    todo = [EvenkeelError]
    while todo:
        error = todo.pop()
        if error.code == code and error.default_hint:
            return error.default_hint
        todo += error.__subclasses__()
    return "See the agent's log on that host."


def prose(text: str) -> Markup:
    """`code` between backticks as code; everything else escaped."""
    parts = [escape(part) for part in text.split("`")]
    marked = [Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts)]
    return Markup("").join(marked)


FILTERS: Final = {
    "prose": prose,
    "percent": percent,
    "percent_point": percent_point,
    "amount": amount,
    "memory": memory,
    "duration": duration,
    "clock": clock,
    "iso": iso,
    "heat_level": heat_level,
    "resource_label": resource_label,
    "resource_letter": resource_letter,
    "sentence": sentence,
    "spaced": spaced,
    "problem_hint": problem_hint,
    "action": ACTION_WORDS.__getitem__,
    "state": STATE_WORDS.__getitem__,
    "mode_means": MODE_MEANS.__getitem__,
}
