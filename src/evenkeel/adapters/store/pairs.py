"""The scored pairs of every host, worst first (the pairs half of `InventoryStore`)."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from evenkeel.adapters.store.sql import Row, vms_of
from evenkeel.adapters.store.tables import host, pair, vm
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S, PairScore
from evenkeel.records import PairRecord, PairsPassed

_ORDER = (pair.c.score.desc(), pair.c.host, pair.c.victim, pair.c.aggressor, pair.c.resource)


class SqlPairs:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def pairs(
        self,
        host: HostId | None = None,
        victims: Sequence[VmId] | None = None,
        aggressors: Sequence[VmId] | None = None,
        tenant: TenantId | None = None,
        min_score: float = 0.0,
        alive_since_s: float | None = None,
        after: PairsPassed | None = None,
        limit: int = 100,
        horizon_s: float = PRESENT_S,
    ) -> list[PairRecord]:
        query = sa.select(pair).where(*_conditions(tenant, min_score, alive_since_s, horizon_s))
        if host is not None:
            query = query.where(pair.c.host == host)
        if victims is not None:
            query = query.where(pair.c.victim.in_(victims))
        if aggressors is not None:
            query = query.where(pair.c.aggressor.in_(aggressors))
        if after is not None:
            query = query.where(pair.c.score <= after.score).offset(after.n_passed)
        rows = self._connection.execute(query.order_by(*_ORDER).limit(limit))
        return [_pair_record(row) for row in rows]

    def n_pairs(
        self, tenant: TenantId | None, min_score: float, alive_since_s: float | None
    ) -> int:
        conditions = _conditions(tenant, min_score, alive_since_s, PRESENT_S)
        query = sa.select(sa.func.count()).select_from(pair).where(*conditions)
        return self._connection.scalar(query) or 0

    def replace_pairs(self, host: HostId, scores: Sequence[PairScore], at_s: float) -> None:
        self._connection.execute(sa.delete(pair).where(pair.c.host == host))
        rows: dict[tuple[str, str, str, float], Row] = {}
        for score in scores:
            row: Row = {
                "host": host,
                "victim": score.victim,
                "aggressor": score.aggressor,
                "resource": score.resource.value,
                "score": score.score,
                "probability": score.probability,
                "severity": score.severity,
                "confidence": score.confidence,
                "window_s": score.window_s,
                "n_samples": score.n_samples,
                "horizon_s": score.horizon_s,
                "at_s": at_s,
            }
            rows[score.victim, score.aggressor, score.resource, score.horizon_s] = row
        if rows:
            self._connection.execute(sa.insert(pair), list(rows.values()))


def _conditions(
    tenant: TenantId | None, min_score: float, alive_since_s: float | None, horizon_s: float
) -> list[sa.ColumnElement[bool]]:
    # A host that a VM has left may be silent and go on telling old scores for it.
    at_home = sa.exists().where(vm.c.id == pair.c.victim, vm.c.home == pair.c.host)
    conditions: list[sa.ColumnElement[bool]] = [
        pair.c.score >= min_score,
        pair.c.horizon_s == horizon_s,
        at_home,
    ]
    if tenant is not None:
        own = vms_of(tenant)
        conditions.append(pair.c.victim.in_(own) | pair.c.aggressor.in_(own))
    if alive_since_s is not None:
        alive = sa.select(host.c.id).where(host.c.last_seen_s >= alive_since_s)
        conditions.append(pair.c.host.in_(alive))
    return conditions


def _pair_record(row: sa.Row[tuple[object, ...]]) -> PairRecord:
    score = PairScore(
        victim=VmId(row.victim),
        aggressor=VmId(row.aggressor),
        resource=Resource(row.resource),
        score=row.score,
        probability=row.probability,
        severity=row.severity,
        confidence=row.confidence,
        window_s=row.window_s,
        n_samples=row.n_samples,
        horizon_s=row.horizon_s,
    )
    return PairRecord(HostId(row.host), score, row.at_s)
