"""Records for a store: hosts, VMs that are at home, a small fleet."""

from __future__ import annotations

from tests.batches import START_S, a_vm

from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId
from evenkeel.domain.vm import Vm
from evenkeel.ports_store import Session
from evenkeel.records import HostRecord, VmRecord

H1, H2 = HostId("h1"), HostId("h2")


def host_record(name: str = "h1", seen_s: float = START_S, **fields: object) -> HostRecord:
    host = Host(HostId(name), (0, 1), 4096.0)
    return HostRecord(host, "e1", 1, seen_s, seen_s, Mode.ADVISE, **fields)  # type: ignore[arg-type]


def at_home(vm: Vm, host: str | None = "h1") -> VmRecord:
    home = HostId(host) if host else None
    return VmRecord(vm, home, home, home or H1)


def put_fleet(session: Session) -> None:
    """h1 with web1 (shop), web2 (shop), batch7 (bank); h2 with db1 (bank)."""
    for name in ("h1", "h2"):
        session.inventory.put_host(host_record(name))
    session.inventory.put_vms(
        [
            at_home(a_vm("web1", "shop")),
            at_home(a_vm("web2", "shop")),
            at_home(a_vm("batch7", "bank")),
            at_home(a_vm("db1", "bank"), "h2"),
        ]
    )
