"""Hosts in maintenance: nothing new is placed on them; what runs there is left alone."""

from __future__ import annotations

from collections.abc import Callable

from evenkeel.domain.errors import InvalidRequest, NotFound
from evenkeel.domain.events import Event
from evenkeel.domain.ids import HostId
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import Maintenance

MOST_WORDS = 200


class MaintenanceService:
    """`changed` is called when a host was closed or opened."""

    def __init__(
        self, store: Store, clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed

    def hosts(self) -> dict[HostId, Maintenance]:
        """Raises StoreUnavailable."""
        with self._store.read() as session:
            return session.access.maintenance()

    def closed(self) -> frozenset[HostId]:
        """Raises StoreUnavailable."""
        return frozenset(self.hosts())

    def begin(self, host: HostId, reason: str, who: str) -> None:
        """Nothing comes to the host from now on. Raises NotFound, InvalidRequest."""
        if len(reason) > MOST_WORDS or not reason.isprintable():
            raise InvalidRequest(f"a reason has at most {MOST_WORDS} printable characters")
        since = Maintenance(self._clock.wall_s(), reason)
        self._set(host, since, f"{who} began maintenance of host {host}: {reason or 'no reason'}")

    def end(self, host: HostId, who: str) -> None:
        """Raises NotFound."""
        self._set(host, None, f"{who} ended maintenance of host {host}")

    def _set(self, host: HostId, value: Maintenance | None, message: str) -> None:
        kind = "maintenance_ended" if value is None else "maintenance_began"
        with self._store.write() as session:
            known = session.access.maintenance()
            if session.inventory.host(host) is None and host not in known:
                raise NotFound(f"there is no host {host!r}", hint="`evenkeel hosts` lists them.")
            if (host in known) is (value is not None):
                return
            session.access.put_maintenance(host, value)
            session.chronicle.add_events([Event(self._clock.wall_s(), kind, message, host=host)])
        self._changed()
