"""The books of hosts in memory: read from the store when needed, and known to be current or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from evenkeel.domain.ids import HostId
from evenkeel.placement.calendar import Calendar, capacity_shards
from evenkeel.placement.fleet import Chance
from evenkeel.ports import Clock
from evenkeel.ports_store import Session, Store

CAPACITY_S: Final = 60.0
"""A host's capacity is looked at again after so long."""
PAST_S: Final = 3600
LONG: Final = 64
PAGE: Final = 500


class Books:
    """Not thread-safe: the writer of claims keeps them."""

    def __init__(self, chance: Chance, clock: Clock) -> None:
        self.calendar = Calendar(chance)
        self._clock = clock
        self._generation: dict[HostId, int] = {}
        self._looked_at_s: dict[HostId, float] = {}

    def read(self, session: Session, hosts: Collection[HostId]) -> dict[HostId, int]:
        """Make the books of these hosts current; their generations. Unknown hosts get no book."""
        generations = session.claims.generations(hosts)
        stale = [host for host, now in generations.items() if self._generation.get(host) != now]
        self._look(session, hosts)
        if stale:
            self._open(session, [h for h in stale if h in self.calendar], generations)
        self._forget_past(hosts)
        return generations

    def _look(self, session: Session, hosts: Collection[HostId]) -> None:
        """At capacities that are unknown or were looked at too long ago."""
        now_s = self._clock.monotonic_s()
        due = [
            host
            for host in hosts
            if host not in self.calendar or now_s - self._looked_at_s[host] >= CAPACITY_S
        ]
        if not due:
            return
        for host, record in session.inventory.hosts_by_id(due).items():
            self._looked_at_s[host] = now_s
            if host in self.calendar:
                self.calendar.resize(host, capacity_shards(record.host.capacity))
            else:
                self.calendar.open(host, capacity_shards(record.host.capacity))

    def _open(
        self, session: Session, hosts: Collection[HostId], generations: dict[HostId, int]
    ) -> None:
        since_s = int(self._clock.wall_s()) - PAST_S
        for host, lots in session.claims.lots_of(hosts, since_s).items():
            self.calendar.open(host, self.calendar.book(host).capacity, lots)
            self._generation[host] = generations[host]

    def _forget_past(self, hosts: Collection[HostId]) -> None:
        before_s = int(self._clock.wall_s()) - PAST_S
        for host in hosts:
            if host in self.calendar and len(self.calendar.book(host).profile.times) > LONG:
                self.calendar.forget(host, before_s)

    def advance(self, hosts: Iterable[HostId]) -> None:
        """Their changes in memory are in the store now."""
        for host in hosts:
            self._generation[host] += 1

    def close(self, hosts: Iterable[HostId]) -> None:
        for host in hosts:
            self.calendar.close(host)
            self._generation.pop(host, None)
            self._looked_at_s.pop(host, None)

    def close_all(self) -> None:
        self.close(list(self._looked_at_s))

    def warm(self, store: Store) -> int:
        """Open the books of all hosts; how many. Raises StoreUnavailable."""
        after = ""
        while True:
            with store.read() as session:
                ids = [record.host.id for record in session.inventory.hosts(after, PAGE)]
                self.read(session, ids)
            if len(ids) < PAGE:
                return len(self._looked_at_s)
            after = ids[-1]
