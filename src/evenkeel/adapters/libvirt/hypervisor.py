"""The Hypervisor port on libvirt: one statistics call per tick for all VMs, and reversible tuning.

A libvirt call may hang (a stuck daemon, a stuck QEMU): every call runs in a `CallGuard`, and one
that hangs costs its thread and connection, not the agent. A broken connection is reported once
and opened anew by the next call; when to call again is the caller's business.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import libvirt

from evenkeel.adapters.libvirt import domstats, faults, metadata, tuning
from evenkeel.adapters.libvirt.facts import RETRY_S, FactBook, VmFacts
from evenkeel.adapters.libvirt.guard import CallGuard, CallHung
from evenkeel.adapters.libvirt.host import HostReader
from evenkeel.adapters.libvirt.session import Session
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import (
    HypervisorError,
    HypervisorUnavailable,
    VmGone,
)
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction
from evenkeel.domain.sample import HostCounters, VmCounters
from evenkeel.domain.vm import CpuTuning
from evenkeel.ports import Clock

EVERY_TICK: Final = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)
NOW_AND_THEN: Final = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
"""Groups for which libvirtd asks QEMU itself: two thirds of what a call costs it."""
DEVICE_KEYS: Final = ("balloon.", "block.", "cpu.")
FLAGS: Final = (
    libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
    | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
)
REFRESH_SHARE: Final = 0.25
"""Share of a call's time limit that reading facts may take in one tick; the rest waits a tick."""
_log = logging.getLogger(__name__)
T = TypeVar("T")


class LibvirtHypervisor:
    """One host's libvirt. Not bound to a thread; calls are made one at a time.

    Parameters
    ----------
    config : AgentConfig
        URI, time limit, cgroup root, CPUs and capacities.
    clock : Clock
        Dates the observations.
    balloon_period_s : int
        0 leaves the guests' balloon statistics as they are. Above 0, VMs whose statistics are off
        are told to refresh them this often (while they run), which changes the guest.
    """

    def __init__(self, config: AgentConfig, clock: Clock, *, balloon_period_s: int = 0) -> None:
        self._uri = config.libvirt_uri
        self._clock = clock
        self._balloon_period_s = balloon_period_s
        self._devices_every_s = config.devices_every_s
        self._refresh_limit_s = config.libvirt_timeout_s * REFRESH_SHARE
        self._guard = CallGuard(config.libvirt_timeout_s)
        self._host = HostReader(config)
        self._book = FactBook(Path(config.cgroup_root), clock.monotonic_s)
        self._session: Session | None = None
        self._odd: set[str] = set()
        self._devices: dict[tuple[str, int], dict[str, Any]] = {}
        self._devices_at_s = float("-inf")
        self._records: tuple[tuple[str, str, dict[str, Any]], ...] = ()
        self._profilers: dict[VmId, tuple[int, str]] = {}
        self._lock = threading.Lock()

    def observe(self) -> HostCounters:
        """All running VMs' counters and the host's own, with one libvirt call.

        VMs whose facts could not be read yet, and VMs whose record makes no sense, are left out;
        the latter are named in the log, once.

        Raises HypervisorUnavailable, HypervisorTimeout, HypervisorUriInvalid, HypervisorDenied.
        """
        return self._call("observe", self._observe)

    def tuning(self, vm_id: VmId) -> CpuTuning:
        """A VM's knobs, read afresh. Raises VmGone, HypervisorError."""

        def read(session: Session) -> CpuTuning:
            knobs, _ = tuning.read(tuning.look_up(session.connection, vm_id))
            if self._book.doubts(vm_id, knobs):
                raise HypervisorUnavailable(f"libvirt has yet to find the cgroup of VM {vm_id}")
            return knobs

        return self._call("read tuning", read)

    def apply(self, instruction: Instruction) -> None:
        """Turn one knob of a running VM. Raises VmGone, ActionUnsupported, ActionRefused,
        HypervisorError."""

        def turn(session: Session) -> None:
            domain = tuning.look_up(session.connection, instruction.vm)
            try:
                tuning.apply(domain, instruction)
            finally:
                session.touched.add(instruction.vm)

        self._call("apply", turn)

    def close(self) -> None:
        """Give the connection back. A call after this opens a new one."""
        with self._lock:
            session, self._session = self._session, None
            try:
                if session is not None:
                    self._guard.call("close", session.close, lambda: None)
            except HypervisorError as error:
                _log.info("closing libvirt: %s", error)
            self._guard.close()

    def records(self) -> tuple[tuple[str, str, dict[str, Any]], ...]:
        """Name, UUID and libvirt's own dictionary of every VM in the last observation."""
        return self._records

    def profilers(self) -> dict[VmId, tuple[int, str]]:
        """Of the VMs in the last observation that have a profiler port: incarnation and socket."""
        return self._profilers

    @property
    def n_hung_calls(self) -> int:
        """Calls to libvirt that never came back so far."""
        return self._guard.n_abandoned

    def _call(self, what: str, work: Callable[[Session], T]) -> T:
        """Run `work` guarded, on the open session or on a new one."""
        with self._lock:
            lease = _Lease(self._session)

            def run() -> T:
                if lease.session is None:
                    lease.session = self._open()
                try:
                    return work(lease.session)
                except HypervisorUnavailable:
                    lease.close()
                    raise

            try:
                return self._guard.call(what, run, lease.close)
            except CallHung:
                self._book = self._book.after_hang()
                lease = _Lease(None)  # the hung thread keeps the session, and closes it
                raise
            finally:
                self._session = lease.session

    # --- from here on: in the guarded thread ---------------------------------------------------

    def _open(self) -> Session:
        session = Session(self._uri)
        self._host.connected()
        session.touched |= self._book.uuids()  # events were missed meanwhile
        return session

    def _observe(self, session: Session) -> HostCounters:
        book = self._book
        before_s = self._clock.monotonic_s()
        rows = self._ask(session, before_s)
        after_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        present = {uuid: incarnation for uuid, incarnation, _ in rows}
        book.keep_only(present)
        self._odd &= present.keys()
        self._read_facts(session, book, present)
        vms, records = [], []
        for uuid, incarnation, stats in rows:
            facts = book.get(uuid, incarnation)
            if facts is None:
                continue
            if facts.may_throttle:
                book.read_throttled(facts)
            try:
                vms.append(_counters(facts, VmId(uuid), stats))
                records.append((facts.name, uuid, stats))
            except (TypeError, ValueError, OverflowError) as error:
                self._name_odd(uuid, facts.name, error)
        self._records = tuple(records)
        self._profilers = {VmId(uuid): found for uuid, found in book.profilers().items()}
        self._learn(book, vms)
        if vms:
            self._host.ask(session.connection)
        reading = self._host.read()
        return HostCounters(
            host=self._host.host,
            monotonic_s=(before_s + after_s) / 2,
            wall_s=wall_s - (after_s - before_s) / 2,
            vms=tuple(vms),
            cpu_busy_ns=reading.cpu_busy_ns,
            memory_used_mib=reading.memory_used_mib,
            psi_cpu_some=reading.psi[0],
            psi_memory_some=reading.psi[1],
            psi_io_some=reading.psi[2],
            devices_at_s=self._devices_at_s,
        )

    def _ask(self, session: Session, now_s: float) -> list[tuple[str, int, dict[str, Any]]]:
        """UUID, incarnation and statistics of every running VM, with one call.

        Between two readings of the devices their last statistics stand in; a VM that has none
        yet makes this the time to read them.
        """
        if now_s - self._devices_at_s < self._devices_every_s:
            rows = _statistics(session, EVERY_TICK)
            last = self._devices
            if all((uuid, incarnation) in last for uuid, incarnation, _ in rows):
                return [(u, i, last[u, i] | stats) for u, i, stats in rows]
        rows = _statistics(session, EVERY_TICK | NOW_AND_THEN)
        self._devices = {
            (uuid, incarnation): {k: v for k, v in stats.items() if k.startswith(DEVICE_KEYS)}
            for uuid, incarnation, stats in rows
        }
        self._devices_at_s = now_s
        return rows

    def _read_facts(self, session: Session, book: FactBook, present: dict[str, int]) -> None:
        """Read the facts that are missing or in doubt, as far as this tick's time allows."""
        touched = {session.touched.pop() for _ in range(len(session.touched))}
        until_s = self._clock.monotonic_s() + self._refresh_limit_s
        for uuid in book.wanting(present, touched):
            if self._clock.monotonic_s() > until_s:
                session.touched |= touched
                return
            touched.discard(uuid)
            try:
                is_new = book.get(uuid, present[uuid]) is None
                domain = tuning.look_up(session.connection, VmId(uuid))
                book.read(domain, uuid, present[uuid])
                if is_new and self._balloon_period_s > 0:
                    self._start_balloon_statistics(domain)
            except HypervisorUnavailable:
                raise
            except VmGone:
                continue
            except (HypervisorError, ValueError) as error:
                book.pause(uuid, RETRY_S)
                self._name_odd(uuid, "name unknown", error)

    def _start_balloon_statistics(self, domain: Any) -> None:
        try:
            if metadata.balloon_is_silent(domain.XMLDesc()):
                domain.setMemoryStatsPeriod(self._balloon_period_s, tuning.LIVE)
        except libvirt.libvirtError as error:
            _log.info("VM %s: no balloon statistics: %s", domain.UUIDString(), error)

    def _learn(self, book: FactBook, vms: list[VmCounters]) -> None:
        found = book.capabilities()
        if any(vm.balloon_updated_at_s for vm in vms):
            found |= {Capability.BALLOON}
        self._host.learn(found)

    def _name_odd(self, uuid: str, name: str, error: Exception) -> None:
        if uuid not in self._odd:
            self._odd.add(uuid)
            _log.warning("VM %s (%s) is left out: %s", name, uuid, error)


def _statistics(session: Session, groups: int) -> list[tuple[str, int, dict[str, Any]]]:
    try:
        answer = session.connection.getAllDomainStats(groups, FLAGS)
    except libvirt.libvirtError as error:
        raise faults.on_call(error, "getAllDomainStats") from error
    return [(domain.UUIDString(), domain.ID(), stats) for domain, stats in answer]


class _Lease:
    """The session that a call uses; whoever holds the lease last closes it."""

    def __init__(self, session: Session | None) -> None:
        self.session = session

    def close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.close()


def _counters(facts: VmFacts, vm_id: VmId, stats: dict[str, Any]) -> VmCounters:
    cpu = domstats.cpu(stats)
    disk = facts.disk_counters(domstats.disk(stats))
    net = domstats.net(stats)
    balloon = domstats.balloon(stats)
    state = domstats.state(stats)
    return VmCounters(
        vm=facts.as_vm(vm_id, cpu.n_online, domstats.memory_mib(stats), state),
        incarnation=facts.incarnation,
        vcpu_time_ns=cpu.time_ns,
        vcpu_delay_ns=cpu.delay_ns,
        cpu_time_ns=cpu.total_ns,
        throttled_ns=facts.throttled_ns,
        balloon_kib=balloon.current,
        unused_kib=balloon.unused,
        available_kib=balloon.available,
        rss_kib=balloon.rss,
        swap_in_kib=balloon.swap_in,
        swap_out_kib=balloon.swap_out,
        major_faults=balloon.major_faults,
        balloon_updated_at_s=balloon.updated_at_s,
        disk_requests=disk.requests,
        disk_bytes=disk.bytes,
        disk_time_ns=disk.time_ns,
        net_bytes=net.bytes,
        net_packets=net.packets,
        net_drops=net.drops,
        net_errors=net.errors,
    )
