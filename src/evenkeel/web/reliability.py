"""The page that says how right the scores are: what it shows, and its links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import urlencode

from evenkeel.api.reader import FleetReader, Principal
from evenkeel.domain.reliability import MIN_SAMPLES
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.web.diagram import BARS, SIDE, band, build_diagram, ticks
from evenkeel.web.words import resource_label, sentence

SPANS: Final = ((1, "1 h"), (24, "24 h"), (168, "7 d"), (720, "30 d"))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of it is looked at; empty: all."""

    host: str = ""
    resource: Resource | Literal[""] = ""
    hours: int = 24

    def link(self, **changes: Any) -> str:
        chosen = replace(self, **changes)
        query = {"host": chosen.host, "resource": str(chosen.resource), "hours": chosen.hours}
        return "/reliability?" + urlencode({key: value for key, value in query.items() if value})


def read_reliability(reader: FleetReader, who: Principal, chosen: Chosen) -> dict[str, Any]:
    """What the template needs. Raises Forbidden for tenants, NotFound, StoreUnavailable."""
    told = reader.reliability(
        who, chosen.host or None, chosen.resource or None, hours=float(chosen.hours)
    )
    return {
        "told": told,
        "chosen": chosen,
        "link": chosen.link,
        "diagrams": [build_diagram(curve) for curve in told.curves],
        "resources": [("", "All"), *((r, sentence(resource_label(r))) for r in AXIS)],
        "spans": SPANS,
        "side": SIDE,
        "bars": BARS,
        "band": band(),
        "ticks": ticks(),
        "min_samples": MIN_SAMPLES,
    }
