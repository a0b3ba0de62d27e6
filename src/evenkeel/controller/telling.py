"""Deviations as events: VM by VM while they are few, as one where the fleet has shifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from evenkeel.domain.deviation import DemandDeviation
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.ports_store import Session

HOUR_S: Final = 3600.0
AN_HOUR: Final = 20
"""VMs of a resource that are told of one by one in an hour."""
FLEET_SHARE: Final = 0.1
FLEET_LEAST: Final = 5
"""When so many and such a share of the VMs deviate, it is the fleet that does."""
EXAMPLES: Final = 5


@dataclass(slots=True)
class Teller:
    """Of one resource. `told`: VMs whose deviation has an event of its own, which gets its end."""

    resource: Resource
    told: set[str] = field(default_factory=set)
    _hour_ends_s: float = float("-inf")
    _left: int = 0
    _shifted: bool = False
    _untold: set[str] = field(default_factory=set)

    def tell(
        self,
        at_s: float,
        raised: Iterable[str],
        ended: Mapping[str, DemandDeviation],
        standing: Mapping[str, DemandDeviation],
        n_vms: int,
        session: Session,
    ) -> list[Event]:
        """What to log of a slot that ended at `at_s`; `ended` are those that stand no more."""
        events = [_ended(vm, ended[vm], at_s, session) for vm in sorted(self.told & ended.keys())]
        self.told -= ended.keys()
        if not at_s < self._hour_ends_s <= at_s + HOUR_S:
            self._hour_ends_s, self._left = at_s + HOUR_S, AN_HOUR
        self._untold |= set(raised)
        self._untold &= standing.keys()
        limit = max(FLEET_LEAST, FLEET_SHARE * n_vms)
        if self._shifted and len(standing) < limit / 2:
            self._shifted = False
            events.append(self._over(len(standing), n_vms, at_s))
        if self._shifted:
            self._untold.clear()
        if not self._untold or not self._left:
            return events
        self._shifted = len(standing) >= limit
        if self._shifted or len(self._untold) > self._left:
            self._left = 0
            events.append(self._many(standing, n_vms, at_s, session))
        else:
            self._left -= len(self._untold)
            self.told |= self._untold
            events += [_began(vm, standing[vm], at_s, session) for vm in sorted(self._untold)]
        self._untold.clear()
        return events

    def _over(self, n: int, n_vms: int, at_s: float) -> Event:
        label = SPECS[self.resource].label
        return Event(
            at_s,
            "vms_deviate_no_more",
            f"only {n} of {n_vms} VMs still depart from their {label} forecast",
            detail={"resource": self.resource.value, "n_deviating": n, "n_vms": n_vms},
        )

    def _many(
        self, standing: Mapping[str, DemandDeviation], n_vms: int, at_s: float, session: Session
    ) -> Event:
        ways = Counter(one.way.value for one in standing.values())
        least_likely = sorted(standing, key=lambda vm: (standing[vm].probability, vm))[:EXAMPLES]
        names = ", ".join(_who(session, vm)[1] for vm in least_likely)
        how = ", ".join(f"{n} {way}" for way, n in ways.most_common())
        return Event(
            at_s,
            "vms_deviate",
            f"{len(standing)} of {n_vms} VMs depart from their {SPECS[self.resource].label} "
            f"forecast ({how}), such as {names}",
            Severity.WARNING,
            detail={
                "resource": self.resource.value,
                "n_deviating": len(standing),
                "n_vms": n_vms,
                "since_s": min(one.since_s for one in standing.values()),
                "examples": names,
            },
        )


def _began(vm: str, one: DemandDeviation, at_s: float, session: Session) -> Event:
    vm_id, name = _who(session, vm)
    return Event(
        at_s,
        "vm_deviates",
        f"{name} departs from its {SPECS[one.resource].label} forecast: {one}",
        Severity.WARNING,
        vm=vm_id,
        detail={
            "resource": one.resource.value,
            "way": one.way.value,
            "since_s": one.since_s,
            "predicted": round(one.predicted, 6),
            "came": round(one.came, 6),
            "size": round(one.size, 6),
            "probability": one.probability,
        },
    )


def _ended(vm: str, one: DemandDeviation, at_s: float, session: Session) -> Event:
    vm_id, name = _who(session, vm)
    return Event(
        at_s,
        "vm_deviates_no_more",
        f"{name} is as its {SPECS[one.resource].label} forecast says again, or was so long "
        "otherwise that this is no news",
        vm=vm_id,
        detail={"resource": one.resource.value, "since_s": one.since_s},
    )


def _who(session: Session, vm: str) -> tuple[VmId | None, str]:
    """Id and name; Prometheus knows VMs by their names, which may be those of several."""
    record = session.inventory.vms_by_id([VmId(vm)]).get(VmId(vm))
    if record is None:
        named = session.inventory.vms_named(vm, None)
        record = named[0] if len(named) == 1 else None
    return (record.vm.id, record.vm.name) if record else (VmId(vm), vm)
