"""Profilers of simulated VMs and those behind real sockets keep one contract."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.guest_profiles_contract import GuestProfilesContract, ProfilesWorld, line

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.guest.channels import ChannelProfiles
from evenkeel.domain.ids import VmId
from evenkeel.ports import GuestProfiles
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.profiles import SimGuestProfiles
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady


class SimWorld:
    def __init__(self) -> None:
        self.fleet = SimFleet(seed=1)
        host = self.fleet.add_host(HostSpec("h1", cpus=(0, 1)))
        spoken = [
            self.fleet.add_vm(host, VmSpec(name, cpu=Steady(0.5), has_profiler=True))
            for name in ("one", "other")
        ]
        self.one, self.other = spoken
        self.without = self.fleet.add_vm(host, VmSpec("without", cpu=Steady(0.5)))
        self.sim = SimGuestProfiles(self.fleet, host)
        self.profiles: GuestProfiles = self.sim

    def say(self, vm: VmId, raw: bytes) -> None:
        self.sim.say(vm, raw)

    def report(self, vm: VmId) -> None:
        """It does at every reading."""

    def pass_time(self, seconds: float) -> None:
        self.fleet.advance(seconds)


class TestSimGuestProfiles(GuestProfilesContract):
    @pytest.fixture
    def world(self) -> ProfilesWorld:
        return SimWorld()


class Port:
    """The host's end of a VM's port, as QEMU keeps it: one caller at a time, the last one wins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._caller: socket.socket | None = None

    def send(self, raw: bytes) -> None:
        """In a thread, as the VM goes on whether or not the host reads."""
        threading.Thread(target=self._send, args=(raw,), daemon=True).start()
        time.sleep(0.02)

    def _send(self, raw: bytes) -> None:
        while raw:
            self._server.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                caller, _ = self._server.accept()
                self._hang_up()
                self._caller = caller
            if self._caller is None:
                return  # nobody listens: it is lost
            try:
                self._caller.settimeout(0.2)
                raw = raw[self._caller.send(raw) :]
            except OSError:
                self._hang_up()
                return

    def _hang_up(self) -> None:
        if self._caller is not None:
            self._caller.close()
        self._caller = None

    def close(self) -> None:
        self._server.close()
        self._hang_up()


class SocketWorld:
    def __init__(self, directory: Path) -> None:
        self.one, self.other, self.without = VmId("one"), VmId("other"), VmId("without")
        self.ports = {vm: Port(directory / vm) for vm in (self.one, self.other)}
        self.clock = FastClock()
        self.profiles: GuestProfiles = ChannelProfiles(
            lambda: {vm: (1, str(port.path)) for vm, port in self.ports.items()}, self.clock
        )

    def say(self, vm: VmId, raw: bytes) -> None:
        self.ports[vm].send(raw)

    def report(self, vm: VmId) -> None:
        self.say(vm, line(self.clock.monotonic_s(), 5.0))

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead_s += seconds


class FastClock(SystemClock):
    """Real time, and what a test lets pass."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class TestChannelProfiles(GuestProfilesContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[ProfilesWorld]:
        world = SocketWorld(tmp_path)
        yield world
        world.profiles.close()
        for port in world.ports.values():
            port.close()


def test_no_socket_nobody_listening_and_a_path_too_long_are_only_silence(tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    Port(stale).close()
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    paths = {"absent": tmp_path / "absent", "stale": stale, "long": deep / "absent"}
    profiles = ChannelProfiles(
        lambda: {VmId(name): (1, str(path)) for name, path in paths.items()}, SystemClock()
    )

    found = profiles.read()

    assert {name: (r.report, r.flaws) for name, r in found.items()} == dict.fromkeys(
        map(VmId, paths), (None, frozenset())
    )


def test_a_socket_whose_path_is_too_long_for_an_address_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    server = socket.socket(socket.AF_UNIX)
    short = tmp_path / "s"
    server.bind(str(short))
    short.rename(deep / "evenkeel.profiler.0")
    server.listen(1)
    profiles = ChannelProfiles(
        lambda: {VmId("vm"): (1, str(deep / "evenkeel.profiler.0"))}, SystemClock()
    )
    profiles.read()
    caller, _ = server.accept()
    caller.sendall(line(5.0, 7.0))

    report = profiles.read()[VmId("vm")].report

    assert report is not None
    assert report.work == 7.0
    profiles.close()
    caller.close()
    server.close()
