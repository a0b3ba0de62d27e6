"""A libvirt connection in memory: counts calls, answers with what a test put there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import libvirt
from tests.unit.libvirt.domstats_records import RECORD


def failure(code: int, domain: int = libvirt.VIR_FROM_QEMU, text: str = "no") -> Exception:
    """A libvirtError as the C library would have raised it."""
    error = libvirt.libvirtError("call failed")
    error.err = (code, domain, text, 2, None, None, None, -1, -1)
    return error


class FakeDomain:
    def __init__(self, connection: FakeConnection, number: int, name: str) -> None:
        self.connection = connection
        self.number = number
        self.given_name = name
        self.stats: dict[str, Any] = dict(RECORD)
        self.pins = [(True, True), (True, True)]
        self.scheduler = {"cpu_shares": 1024, "vcpu_period": 100000, "vcpu_quota": -1}
        self.metadata = ""
        self.incarnation = number
        self.failing: Exception | None = None
        self.scheduler_failing: Exception | None = None

    def UUIDString(self) -> str:  # noqa: N802
        return f"00000000-0000-4000-8000-{self.number:012d}"

    def ID(self) -> int:  # noqa: N802
        return self.incarnation

    def name(self) -> str:
        return self.given_name

    def XMLDesc(self) -> str:  # noqa: N802
        self._count("XMLDesc")
        return f"<domain><metadata>{self.metadata}</metadata></domain>"

    def vcpuPinInfo(self, flags: int) -> list[tuple[bool, ...]]:  # noqa: N802
        self._count("vcpuPinInfo")
        return list(self.pins)

    def schedulerParametersFlags(self, flags: int) -> dict[str, int]:  # noqa: N802
        self._count("schedulerParametersFlags")
        if self.scheduler_failing is not None:
            raise self.scheduler_failing
        return dict(self.scheduler)

    def setSchedulerParametersFlags(self, wanted: dict[str, int], flags: int) -> None:  # noqa: N802
        self._count("setSchedulerParametersFlags")
        self.scheduler |= wanted

    def isActive(self) -> bool:  # noqa: N802
        return self in self.connection.domains

    def _count(self, call: str) -> None:
        self.connection.calls[call] += 1
        if self.failing is not None:
            raise self.failing


class FakeConnection:
    def __init__(self) -> None:
        self.domains: list[FakeDomain] = []
        self.calls: Counter[str] = Counter()
        self.failing: Exception | None = None

    def add(self, name: str) -> FakeDomain:
        number = max((d.number for d in self.domains), default=0) + 1
        self.domains.append(FakeDomain(self, number, name))
        return self.domains[-1]

    def getAllDomainStats(self, groups: int, flags: int) -> list[tuple[FakeDomain, Any]]:  # noqa: N802
        self.calls["getAllDomainStats"] += 1
        if self.failing is not None:
            raise self.failing
        return [(domain, dict(domain.stats)) for domain in self.domains]

    def lookupByUUIDString(self, uuid: str) -> FakeDomain:  # noqa: N802
        self.calls["lookupByUUIDString"] += 1
        for domain in self.domains:
            if domain.UUIDString() == uuid:
                return domain
        raise failure(libvirt.VIR_ERR_NO_DOMAIN)

    def getType(self) -> str:  # noqa: N802
        return "QEMU"

    def getVersion(self) -> int:  # noqa: N802
        return 7_002_022

    def getLibVersion(self) -> int:  # noqa: N802
        return 9_000_000
