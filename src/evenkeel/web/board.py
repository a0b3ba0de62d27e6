"""What the dashboard shows, gathered from the reader in one go for one principal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from evenkeel.api.reader import MAX_LIMIT, FleetReader, Principal, Role
from evenkeel.api.schemas import EventOut, HostOut, MitigationOut, Page, StatusOut, VmOut
from evenkeel.domain.errors import Forbidden, NotFound
from evenkeel.web.graph import Graph, build_graph
from evenkeel.web.heatmap import HeatMap, build_heatmap

MOST_HOSTS: Final = 500
MOST_VMS: Final = 200
MOST_MAPS: Final = 6
N_EVENTS: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Board:
    """`only` is the host the reader asked to see alone; `more_*`: there is more than shown."""

    status: StatusOut
    hosts: list[HostOut]
    more_hosts: bool
    maps: list[HeatMap]
    n_maps_left_out: int
    vms: list[VmOut]
    more_vms: bool
    mitigations: list[MitigationOut]
    events: list[EventOut]
    only: str | None
    tenant: bool

    @property
    def graphs(self) -> dict[str, Graph | None]:
        return {each.host: build_graph(each) for each in self.maps}

    @property
    def silent(self) -> list[HostOut]:
        return [host for host in self.hosts if not host.alive]

    @property
    def silent_hosts(self) -> set[str]:
        """From the maps too: a tenant may see no hosts."""
        return {host.id for host in self.silent} | {m.host for m in self.maps if not m.alive}

    @property
    def also_silent(self) -> list[str]:
        """Silent hosts that only their maps tell of."""
        return sorted(self.silent_hosts - {host.id for host in self.silent})

    @property
    def problems(self) -> list[str]:
        """Those of the status, but for hosts that are listed with a hint of their own."""
        listed = {host.id for host in self.silent + self.troubled}
        return [text for text in self.status.problems if text.partition(": ")[0] not in listed]

    @property
    def troubled(self) -> list[HostOut]:
        return [host for host in self.hosts if host.alive and host.problem]


def read_board(reader: FleetReader, who: Principal, only: str | None) -> Board:
    """Raises NotFound for a host that is not there, StoreUnavailable."""
    status = reader.status(who)
    hosts, more_hosts = _hosts(reader, who, only)
    vms, more_vms = _walk(lambda cursor: reader.vms(who, only, cursor, MOST_VMS), MOST_VMS)
    # The order of rows never follows the scores: at a refresh nothing may jump under the pointer.
    hosts.sort(key=lambda host: host.id)
    vms.sort(key=lambda vm: (vm.host, vm.name, vm.id))
    mapped = _hosts_to_map(hosts, vms)
    worst = sorted(mapped, key=lambda host: -mapped[host])[:MOST_MAPS]
    return Board(
        status=status,
        hosts=hosts,
        more_hosts=more_hosts,
        maps=_maps(reader, who, sorted(worst), status, {vm.id for vm in vms}),
        n_maps_left_out=len(mapped) - len(worst),
        vms=vms,
        more_vms=more_vms,
        mitigations=reader.mitigations(who, only, open_only=True).items,
        events=_or_nothing(lambda: reader.events(who, only, limit=N_EVENTS).items),
        only=only,
        tenant=who.role is Role.TENANT,
    )


def is_silent(reader: FleetReader, who: Principal, host: str) -> bool:
    """Whether what is known of this host is old. A host nobody may look at counts as heard."""
    try:
        return not reader.contention_map(who, host).alive
    except (NotFound, Forbidden):
        return False


def _hosts(reader: FleetReader, who: Principal, only: str | None) -> tuple[list[HostOut], bool]:
    """A tenant may be refused the hosts themselves; its VMs still tell where it lives."""
    try:
        if only is not None:
            return [reader.host(who, only)], False
        return _walk(lambda cursor: reader.hosts(who, cursor, MAX_LIMIT), MOST_HOSTS)
    except Forbidden:
        return [], False


def _hosts_to_map(hosts: list[HostOut], vms: list[VmOut]) -> dict[str, float]:
    """Host -> worst score, for the hosts that have VMs to show."""
    found = {host.id: host.worst_score for host in hosts if host.n_vms}
    for vm in vms:
        found[vm.host] = max(found.get(vm.host, 0.0), vm.worst_score)
    return found


def _maps(
    reader: FleetReader, who: Principal, hosts: list[str], status: StatusOut, visible: set[str]
) -> list[HeatMap]:
    alarms = {(pair.victim, pair.aggressor, pair.resource) for pair in status.alarms}
    maps = []
    for host in hosts:
        try:
            contention = reader.contention_map(who, host)
        except (NotFound, Forbidden):  # the host left meanwhile, or its map is not theirs
            continue
        pairs = reader.pairs(who, host, limit=MAX_LIMIT).items
        maps.append(build_heatmap(contention, pairs, alarms, visible))
    return maps


def _walk(page_at: Callable[[str | None], Page[T]], most: int) -> tuple[list[T], bool]:
    """Follow the pages up to `most` items; the flag says whether more were left."""
    items: list[T] = []
    cursor: str | None = None
    while True:
        page = page_at(cursor)
        items += page.items
        cursor = page.next
        if cursor is None or len(items) >= most:
            return items[:most], cursor is not None or len(items) > most


def _or_nothing(read: Callable[[], list[T]]) -> list[T]:
    try:
        return read()
    except Forbidden:
        return []
