"""Predicted against measured loss by hour (`ReliabilityStore`): rows that are only added to.

Beside each host's rows stand the fleet's, under a name that no host has, so that the fleet's
diagram never reads ten thousand hosts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple
from typing import Final

import sqlalchemy as sa

from evenkeel.adapters.store.sql import Row, insert
from evenkeel.adapters.store.tables import SUMS, reliability
from evenkeel.domain.ids import HostId
from evenkeel.domain.reliability import BinSums
from evenkeel.domain.resources import Resource

HOUR_S: Final = 3600
_FLEET: Final = ""
_KEYS: Final = [column.name for column in reliability.primary_key]


class SqlReliability:
    """See `evenkeel.ports_store.ReliabilityStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(
        self,
        host: HostId,
        hour_s: int,
        resource: Resource,
        horizon_s: float,
        sums: Mapping[int, BinSums],
    ) -> None:
        rows: list[Row] = [
            {
                "host": name,
                "hour_s": hour_s,
                "resource": resource.value,
                "horizon_s": horizon_s,
                "bin": k,
                **dict(zip(SUMS, astuple(each), strict=True)),
            }
            for name in (host, _FLEET)
            for k, each in sums.items()
        ]
        if not rows:
            return
        statement = insert(self._connection, reliability)
        grown = {name: reliability.c[name] + statement.excluded[name] for name in SUMS}
        statement = statement.on_conflict_do_update(index_elements=_KEYS, set_=grown)
        self._connection.execute(statement, rows)

    def sums(
        self,
        since_s: float,
        host: HostId | None = None,
        resource: Resource | None = None,
        horizon_s: float | None = None,
    ) -> dict[tuple[float, Resource], dict[int, BinSums]]:
        columns = reliability.c
        groups = (columns.horizon_s, columns.resource, columns.bin)
        query = sa.select(*groups, *(sa.func.sum(columns[name]).label(name) for name in SUMS))
        query = query.where(
            columns.hour_s > since_s - HOUR_S, columns.host == (_FLEET if host is None else host)
        )
        if resource is not None:
            query = query.where(columns.resource == resource.value)
        if horizon_s is not None:
            query = query.where(columns.horizon_s == horizon_s)
        found: dict[tuple[float, Resource], dict[int, BinSums]] = defaultdict(dict)
        for row in self._connection.execute(query.group_by(*groups).order_by(*groups)):
            sums = BinSums(*(float(row._mapping[name]) for name in SUMS))
            found[row.horizon_s, Resource(row.resource)][row.bin] = sums
        return dict(found)

    def prune(self, before_s: float) -> int:
        old = reliability.c.hour_s <= before_s - HOUR_S
        return self._connection.execute(sa.delete(reliability).where(old)).rowcount
