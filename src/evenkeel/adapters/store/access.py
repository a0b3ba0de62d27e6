"""Tokens, as hashes, and the operator's modes (`AccessStore`)."""

from __future__ import annotations

import sqlalchemy as sa

from evenkeel.adapters.store.sql import insert, upsert
from evenkeel.adapters.store.tables import maintenance, mode, mode_version, token
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, TenantId
from evenkeel.records import Maintenance, ModeSettings, TokenRecord

_TOKEN = (token.c.id, token.c.role, token.c.subject, token.c.created_at_s, token.c.revoked_at_s)


class SqlAccess:
    """See `evenkeel.ports_store.AccessStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def token_by_hash(self, sha256: str) -> TokenRecord | None:
        return self._token(token.c.sha256 == sha256)

    def token_by_id(self, token_id: str) -> TokenRecord | None:
        return self._token(token.c.id == token_id)

    def _token(self, condition: sa.ColumnElement[bool]) -> TokenRecord | None:
        row = self._connection.execute(sa.select(*_TOKEN).where(condition)).one_or_none()
        return TokenRecord(*row) if row else None

    def tokens(self, after: tuple[float, str] = (0.0, ""), limit: int = 100) -> list[TokenRecord]:
        order = sa.tuple_(token.c.created_at_s, token.c.id)
        query = sa.select(*_TOKEN).where(order > sa.tuple_(*(sa.literal(x) for x in after)))
        rows = self._connection.execute(
            query.order_by(token.c.created_at_s, token.c.id).limit(limit)
        )
        return [TokenRecord(*row) for row in rows]

    def add_token(self, record: TokenRecord, sha256: str) -> None:
        row = {
            "id": record.id,
            "sha256": sha256,
            "role": record.role,
            "subject": record.subject,
            "created_at_s": record.created_at_s,
            "revoked_at_s": record.revoked_at_s,
        }
        self._connection.execute(sa.insert(token), [row])

    def revoke_token(self, token_id: str, at_s: float) -> None:
        self._connection.execute(
            sa.update(token)
            .where(token.c.id == token_id, token.c.revoked_at_s.is_(None))
            .values(revoked_at_s=at_s)
        )

    def n_valid_tokens(self, role: str) -> int:
        query = sa.select(sa.func.count()).where(
            token.c.role == role, token.c.revoked_at_s.is_(None)
        )
        return self._connection.scalar(query) or 0

    def modes(self) -> ModeSettings:
        version = self._connection.scalar(sa.select(mode_version.c.version)) or 0
        rows = self._connection.execute(sa.select(mode).order_by(mode.c.scope, mode.c.name)).all()
        return ModeSettings(
            version=version,
            fleet=next((Mode(r.mode) for r in rows if r.scope == "fleet"), Mode.ADVISE),
            hosts={HostId(r.name): Mode(r.mode) for r in rows if r.scope == "host"},
            tenants={TenantId(r.name): Mode(r.mode) for r in rows if r.scope == "tenant"},
        )

    def put_mode(self, scope: str, name: str, value: Mode | None) -> None:
        if value is None:
            self._connection.execute(
                sa.delete(mode).where(mode.c.scope == scope, mode.c.name == name)
            )
        else:
            row = {"scope": scope, "name": name, "mode": value.value}
            upsert(self._connection, mode, [row])
        grow = insert(self._connection, mode_version).values(one=1, version=1)
        self._connection.execute(
            grow.on_conflict_do_update(
                index_elements=["one"], set_={"version": mode_version.c.version + 1}
            )
        )

    def maintenance(self) -> dict[HostId, Maintenance]:
        rows = self._connection.execute(sa.select(maintenance))
        return {HostId(row.host): Maintenance(row.since_s, row.reason) for row in rows}

    def put_maintenance(self, host: HostId, value: Maintenance | None) -> None:
        if value is None:
            self._connection.execute(sa.delete(maintenance).where(maintenance.c.host == host))
            return
        row = {"host": host, "since_s": value.since_s, "reason": value.reason}
        upsert(self._connection, maintenance, [row])
