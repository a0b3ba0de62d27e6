"""One request's view of the store, and records as this viewer may see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evenkeel.api import cursor as cursors
from evenkeel.api import render
from evenkeel.api.reader import MAX_LIMIT
from evenkeel.api.schemas import MapCell, MitigationOut, PairDeviationOut, PairOut, VmOut
from evenkeel.api.visibility import Viewer
from evenkeel.domain.ids import VmId
from evenkeel.domain.placement import terms_of
from evenkeel.domain.plan import Mitigation
from evenkeel.ports_store import Session
from evenkeel.records import HostRecord, PairRecord, PairsPassed, VmRecord


@dataclass(frozen=True, slots=True)
class View:
    """One request: one transaction, one pair of eyes, one instant."""

    session: Session
    viewer: Viewer
    now_s: float


def vms_out(view: View, records: Sequence[VmRecord]) -> list[VmOut]:
    inventory = view.session.inventory
    hosts = inventory.hosts_by_id(record.home for record in records if record.home)
    worst: dict[VmId, PairRecord] = {}
    # Worst first, so that each VM's first one is its worst.
    for pair in inventory.pairs(victims=[r.vm.id for r in records], limit=10 * MAX_LIMIT):
        worst.setdefault(pair.score.victim, pair)
    view.viewer.look_up(pair.score.aggressor for pair in worst.values())
    names = [VmId(name) for r in records for name in (r.vm.id, r.vm.name)]
    placed = view.session.terms.of(names)
    return [
        render.vm_out(
            record,
            hosts.get(record.home) if record.home else None,
            worst.get(record.vm.id),
            terms_of(record.vm, placed),
            view.viewer,
        )
        for record in records
    ]


def pairs_out(view: View, records: Sequence[PairRecord]) -> list[PairOut]:
    view.viewer.look_up(
        side for record in records for side in (record.score.victim, record.score.aggressor)
    )
    return [render.pair_out(record, view.viewer) for record in records]


def pair_deviations_out(
    view: View, host: HostRecord | None, of: VmId | None = None
) -> list[PairDeviationOut]:
    """What deviates on a host, or of one VM there; a tenant's only if a side is its."""
    if host is None:
        return []
    found = [one for one in host.pair_deviations if of in (None, one.victim, one.aggressor)]
    view.viewer.look_up(side for one in found for side in (one.victim, one.aggressor))
    return [
        render.pair_deviation_out(host.host.id, one, view.viewer)
        for one in found
        if view.viewer.owns(one.victim) or view.viewer.owns(one.aggressor)
    ]


def mitigations_out(view: View, found: Sequence[Mitigation]) -> list[MitigationOut]:
    view.viewer.look_up(vm_id for one in found for vm_id in (one.target, one.victim, one.aggressor))
    return [render.mitigation_out(one, view.viewer) for one in found]


def pair_key(records: Sequence[PairRecord], after: PairsPassed | None) -> cursors.Key | None:
    """Scores only: a key made of ids would tell a tenant its neighbours' names."""
    if not records:
        return None
    last = records[-1].score.score
    n_passed = sum(record.score.score == last for record in records)
    if after is not None and after.score == last:
        n_passed += after.n_passed
    return (last, n_passed)


def cell(pair: PairRecord, place: dict[VmId, int]) -> MapCell:
    score = pair.score
    return MapCell(
        victim=place[score.victim],
        aggressor=place[score.aggressor],
        resource=score.resource,
        score=score.score,
        confidence=score.confidence,
    )
