"""What is known of each VM beside its counters, kept so that a tick costs one libvirt call.

Pins, shares, quota and metadata change rarely. They are read when a VM appears (a new UUID or a
new domain id), after we changed something, when an event speaks of the VM, and in a slow rotation.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libvirt

from evenkeel.adapters.libvirt import cgroups, faults, metadata, tuning
from evenkeel.adapters.libvirt.domstats import Disk
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import VmId
from evenkeel.domain.vm import CpuTuning, Vm, VmState

ROTATION_S: Final = 60.0
"""Facts older than this are read again, one VM a tick."""
PAUSE_S: Final = 60.0
"""A VM that hung libvirt is not asked for its facts again before this."""
RETRY_S: Final = 5.0
"""The same for one that could not be read: often it is only just being started."""
NO_DISK: Final = Disk(0, 0, 0)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class VmFacts:
    """One VM in one incarnation; `disk` and `throttled_ns` are the counters last read."""

    name: str
    incarnation: int
    tuning: CpuTuning
    metadata: metadata.Metadata
    read_at_s: float
    machine: Path | None
    quota_on_whole: bool
    profiler: str | None = None
    throttled_ns: int | None = None
    disk: Disk | None = None
    disk_base: Disk | None = None
    vm: Vm | None = None

    @property
    def may_throttle(self) -> bool:
        quota_us = self.tuning.quota_us
        return self.quota_on_whole or (quota_us is not None and quota_us > 0)

    def disk_counters(self, fresh: Disk | None) -> Disk:
        """Disk counters that go on where they stopped while the VM could not be asked.

        If the first question of all was not answered, they count from the first answer.
        """
        if fresh is None:
            if self.disk is None:
                self.disk = NO_DISK
            return self.disk
        if self.disk is NO_DISK:
            self.disk_base = fresh
        base = self.disk_base
        if base is not None:
            fresh = Disk(*(now - then for now, then in zip(fresh, base, strict=True)))
        self.disk = fresh
        return fresh

    def as_vm(self, vm_id: VmId, n_vcpus: int, memory_mib: float, state: VmState) -> Vm:
        """The Vm of this tick: the one of the last tick if nothing changed."""
        vm = self.vm
        if (
            vm is None
            or vm.state is not state
            or vm.n_vcpus != n_vcpus
            or vm.memory_mib != memory_mib
        ):
            vm = self.vm = Vm(
                id=vm_id,
                name=self.name,
                n_vcpus=n_vcpus,
                memory_mib=memory_mib,
                tenant=self.metadata.tenant,
                state=state,
                priority=self.metadata.priority,
                exempt=self.metadata.exempt,
                tuning=self.tuning,
            )
        return vm


class FactBook:
    """The facts of all VMs on the host; those of VMs that left are forgotten."""

    def __init__(self, cgroup_root: Path, now: Callable[[], float]) -> None:
        self._now = now
        self._hierarchy = cgroups.find_hierarchy(cgroup_root)
        self._index: cgroups.MachineIndex | None = None
        self._facts: dict[str, VmFacts] = {}
        self._reading: str | None = None
        self._paused_until_s: dict[str, float] = {}

    def get(self, uuid: str, incarnation: int) -> VmFacts | None:
        facts = self._facts.get(uuid)
        return facts if facts is not None and facts.incarnation == incarnation else None

    def wanting(self, present: dict[str, int], touched: set[str]) -> list[str]:
        """UUIDs to read now, most urgent first; `present` maps UUIDs to domain ids."""
        now_s = self._now()
        new = [uuid for uuid, incarnation in present.items() if self.get(uuid, incarnation) is None]
        changed = [uuid for uuid in touched if uuid in present and uuid not in new]
        wanted = new + changed
        if not wanted and self._facts:
            oldest = min(present, key=lambda uuid: self._facts[uuid].read_at_s, default=None)
            if oldest and now_s - self._facts[oldest].read_at_s >= ROTATION_S:
                wanted.append(oldest)
        if new:
            self._index = None  # made before those VMs were
        return [uuid for uuid in wanted if self._paused_until_s.get(uuid, now_s) <= now_s]

    def read(self, domain: Any, uuid: str, incarnation: int) -> VmFacts:
        """Read a VM's facts afresh: three libvirt calls. Raises VmGone, HypervisorError."""
        self._reading = uuid
        try:
            knobs, quota_on_whole = tuning.read(domain)
            try:
                xml, name = domain.XMLDesc(), domain.name()
            except libvirt.libvirtError as error:
                raise faults.on_call(error, "read domain XML") from error
        finally:
            self._reading = None
        about = metadata.parse(xml)
        old = self.get(uuid, incarnation)
        if old is not None and self.doubts(uuid, knobs):
            return old  # as old as it is, it is the next to be read
        if about.flaws and (old is None or old.metadata != about):
            _log.warning("VM %s (%s): metadata: %s", name, uuid, "; ".join(about.flaws))
        facts = VmFacts(
            name=name,
            incarnation=incarnation,
            tuning=knobs,
            metadata=about,
            read_at_s=self._now(),
            machine=None if old is None else old.machine,
            quota_on_whole=quota_on_whole,
            profiler=metadata.profiler_socket(xml),
        )
        if facts.machine is None and (old is None or facts.may_throttle):
            facts.machine = self._find_machine(incarnation, name)
        if old is not None:
            facts.throttled_ns, facts.disk = old.throttled_ns, old.disk
            facts.disk_base = old.disk_base
        self.read_throttled(facts)  # here for every VM; in each tick for those with a quota
        self._facts[uuid] = facts
        return facts

    def doubts(self, uuid: str, knobs: CpuTuning) -> bool:
        """Whether a VM that has a CPU controller seems to have none: a libvirtd that has just
        started says so until it has found the VM's cgroup again."""
        old = self._facts.get(uuid)
        return old is not None and old.tuning.shares is not None and knobs.shares is None

    def read_throttled(self, facts: VmFacts) -> None:
        """Bring the VM's throttled time up to date."""
        if self._hierarchy is not None and facts.machine is not None:
            facts.throttled_ns = cgroups.throttled_ns(
                self._hierarchy,
                facts.machine,
                len(facts.tuning.vcpu_pins),
                facts.quota_on_whole,
            )

    def after_hang(self) -> FactBook:
        """A book for the next thread: the hung one may still write into this one.

        The VM that the hung call was about, if any, is left alone for a while.
        """
        book = copy.copy(self)
        book._facts = dict(self._facts)
        book._paused_until_s = dict(self._paused_until_s)
        if self._reading is not None:
            book.pause(self._reading, PAUSE_S)
        book._reading = None
        return book

    def pause(self, uuid: str, pause_s: float) -> None:
        """Do not ask for this VM's facts for a while."""
        self._paused_until_s[uuid] = self._now() + pause_s

    def keep_only(self, present: dict[str, int]) -> None:
        """Forget the VMs that are not on the host any more."""
        if (self._facts.keys() | self._paused_until_s.keys()) - present.keys():
            self._facts = {k: v for k, v in self._facts.items() if k in present}
            self._paused_until_s = {k: v for k, v in self._paused_until_s.items() if k in present}

    def profilers(self) -> dict[str, tuple[int, str]]:
        """By UUID of the VMs that have a profiler port: incarnation and the socket's path."""
        return {
            uuid: (facts.incarnation, facts.profiler)
            for uuid, facts in self._facts.items()
            if facts.profiler
        }

    def uuids(self) -> set[str]:
        return set(self._facts)

    def capabilities(self) -> frozenset[Capability]:
        """What the VMs' knobs and cgroups show that this host can do."""
        found = {Capability.PIN}
        for facts in self._facts.values():
            if facts.tuning.shares is not None:
                found.add(Capability.SHARES)
            if facts.tuning.quota_us is not None:
                found.add(Capability.QUOTA)
            if facts.throttled_ns is not None:
                found.add(Capability.THROTTLE_STATS)
        return frozenset(found)

    def _find_machine(self, incarnation: int, name: str) -> Path | None:
        if self._hierarchy is None:
            return None
        if self._index is None:
            self._index = cgroups.MachineIndex(self._hierarchy)
        return self._index.find(incarnation, name)
