"""Hosts and VMs as they are now (`InventoryStore`); the pairs are in pairs.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from evenkeel.adapters.store.pairs import SqlPairs
from evenkeel.adapters.store.sql import Row, unique, upsert
from evenkeel.adapters.store.tables import claim, host, mitigation, pair, vm
from evenkeel.decoding import decoder
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.score import PRESENT_S
from evenkeel.domain.vm import Vm
from evenkeel.records import Claim, FleetSummary, HostRecord, HostSummary, VmRecord

_encoder = msgspec.json.Encoder()
_host_decoder = decoder(HostRecord)
_vm_decoder = decoder(Vm)


class SqlInventory(SqlPairs):
    """See `evenkeel.ports_store.InventoryStore`."""

    def host(self, host_id: HostId) -> HostRecord | None:
        found = self.hosts_by_id([host_id])
        return found.get(host_id)

    def hosts(self, after: str = "", limit: int = 100) -> list[HostRecord]:
        query = sa.select(host.c.document).where(host.c.id > after).order_by(host.c.id)
        rows = self._connection.execute(query.limit(limit))
        return [_host_decoder.decode(row.document) for row in rows]

    def hosts_by_id(self, hosts: Iterable[HostId]) -> dict[HostId, HostRecord]:
        query = sa.select(host.c.document).where(host.c.id.in_(unique(hosts)))
        records = [_host_decoder.decode(row.document) for row in self._connection.execute(query)]
        return {record.host.id: record for record in records}

    def host_summaries(self, hosts: Iterable[HostId]) -> dict[HostId, HostSummary]:
        ids = unique(hosts)
        opened = sa.select(mitigation.c.host, sa.func.count().label("n")).where(
            mitigation.c.open, mitigation.c.host.in_(ids)
        )
        worst = sa.select(pair.c.host, sa.func.max(pair.c.score).label("score")).where(
            pair.c.host.in_(ids), pair.c.horizon_s == PRESENT_S
        )
        n_open = {r.host: r.n for r in self._connection.execute(opened.group_by("host"))}
        score = {r.host: r.score for r in self._connection.execute(worst.group_by("host"))}
        return {HostId(i): HostSummary(n_open.get(i, 0), score.get(i, 0.0)) for i in ids}

    def put_host(self, record: HostRecord) -> None:
        row: Row = {
            "id": record.host.id,
            "last_seen_s": record.last_seen_s,
            "tick_at_s": record.tick.taken_at_s if record.tick else 0.0,
            "problem": record.health.problem or ("clock_skewed" if record.skewed else ""),
            "document": _encoder.encode(record),
        }
        upsert(self._connection, host, [row])

    def vms_by_id(self, vms: Iterable[VmId]) -> dict[VmId, VmRecord]:
        rows = self._connection.execute(sa.select(vm).where(vm.c.id.in_(unique(vms))))
        return {VmId(row.id): _vm_record(row) for row in rows}

    def vms_named(self, name: str, tenant: TenantId | None) -> list[VmRecord]:
        query = sa.select(vm).where(vm.c.name == name, vm.c.home.is_not(None))
        if tenant is not None:
            query = query.where(vm.c.tenant == tenant)
        return [_vm_record(row) for row in self._connection.execute(query.limit(2))]

    def vms(
        self,
        host: HostId | None,
        tenant: TenantId | None,
        after: tuple[str, str] = ("", ""),
        limit: int = 100,
    ) -> list[VmRecord]:
        query = sa.select(vm).where(
            vm.c.home.is_not(None), sa.tuple_(vm.c.name, vm.c.id) > sa.tuple_(*after)
        )
        if host is not None:
            query = query.where(vm.c.home == host)
        if tenant is not None:
            query = query.where(vm.c.tenant == tenant)
        query = query.order_by(vm.c.name, vm.c.id).limit(limit)
        return [_vm_record(row) for row in self._connection.execute(query)]

    def put_vms(self, records: Sequence[VmRecord]) -> None:
        rows: list[Row] = [
            {
                "id": record.vm.id,
                "name": record.vm.name,
                "tenant": record.vm.tenant,
                "home": record.home,
                "told": record.told,
                "last_home": record.last_home,
                "left_at_s": record.left_at_s,
                "document": _encoder.encode(record.vm),
            }
            for record in records
        ]
        upsert(self._connection, vm, rows)

    def claims(self, vms: Iterable[VmId]) -> list[Claim]:
        return self._claims(claim.c.vm.in_(unique(vms)))

    def claims_of(self, host: HostId) -> list[Claim]:
        return self._claims(claim.c.host == host)

    def _claims(self, condition: sa.ColumnElement[bool]) -> list[Claim]:
        query = (
            sa.select(claim, host.c.tick_at_s)
            .join(host, host.c.id == claim.c.host)
            .where(condition)
            .order_by(claim.c.vm, claim.c.host)
        )
        rows = self._connection.execute(query)
        return [Claim(VmId(r.vm), HostId(r.host), r.running, r.tick_at_s) for r in rows]

    def replace_claims(self, host: HostId, running: dict[VmId, bool]) -> None:
        before = {known.vm: known.running for known in self.claims_of(host)}
        gone = [vm_id for vm_id in before if vm_id not in running]
        if gone:
            self._connection.execute(
                sa.delete(claim).where(claim.c.host == host, claim.c.vm.in_(gone))
            )
        changed: list[Row] = [
            {"host": host, "vm": vm_id, "running": is_running}
            for vm_id, is_running in running.items()
            if before.get(vm_id) is not is_running
        ]
        upsert(self._connection, claim, changed)

    def summary(
        self, tenant: TenantId | None, alive_since_s: float, alarm_score: float
    ) -> FleetSummary:
        own = sa.select(vm.c.id, vm.c.home).where(vm.c.home.is_not(None))
        opened = sa.select(sa.func.count()).select_from(mitigation).where(mitigation.c.open)
        hosts = sa.select(
            sa.func.count(),
            sa.func.count(sa.case((host.c.last_seen_s >= alive_since_s, 1))),
        )
        if tenant is not None:
            own = own.where(vm.c.tenant == tenant)
            opened = opened.where(self._mitigates(tenant))
            hosts = hosts.where(host.c.id.in_(sa.select(own.subquery().c.home)))
        n_vms = sa.select(sa.func.count()).select_from(own.subquery())
        n_hosts, n_alive = self._connection.execute(hosts.select_from(host)).one()
        return FleetSummary(
            n_hosts=n_hosts,
            n_hosts_alive=n_alive,
            n_vms=self._connection.scalar(n_vms) or 0,
            n_pairs_above_threshold=self.n_pairs(tenant, alarm_score, alive_since_s),
            n_open_mitigations=self._connection.scalar(opened) or 0,
        )

    @staticmethod
    def _mitigates(tenant: TenantId) -> sa.ColumnElement[bool]:
        own = sa.select(vm.c.id).where(vm.c.tenant == tenant)
        return mitigation.c.target.in_(own) | mitigation.c.victim.in_(own)

    def troubled_hosts(self, alive_since_s: float, limit: int) -> list[tuple[HostId, float, str]]:
        query = (
            sa.select(host.c.id, host.c.last_seen_s, host.c.problem)
            .where((host.c.last_seen_s < alive_since_s) | (host.c.problem != ""))
            .order_by(host.c.id)
        )
        rows = self._connection.execute(query.limit(limit))
        return [(HostId(row.id), row.last_seen_s, row.problem) for row in rows]


def _vm_record(row: sa.Row[tuple[object, ...]]) -> VmRecord:
    return VmRecord(
        vm=_vm_decoder.decode(row.document),
        home=row.home,
        told=row.told,
        last_home=row.last_home,
        left_at_s=row.left_at_s,
    )
