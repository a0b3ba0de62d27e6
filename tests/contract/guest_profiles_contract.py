"""What every GuestProfiles must do. Subclasses provide a `world`; the tests are the same."""

from __future__ import annotations

import json
from typing import Protocol

import pytest

from evenkeel.domain.ids import VmId
from evenkeel.domain.sample import Flaw, GuestReading
from evenkeel.guest_wire import MAX_BYTES
from evenkeel.ports import GuestProfiles


def line(t: float, work: float = 0.0, **more: object) -> bytes:
    return json.dumps({"v": 1, "t": t, "work": work} | more).encode() + b"\n"


class ProfilesWorld(Protocol):
    """A host with two VMs that have profilers, and one that has none."""

    profiles: GuestProfiles
    one: VmId
    other: VmId
    without: VmId

    def say(self, vm: VmId, raw: bytes) -> None:
        """The VM sends this."""

    def report(self, vm: VmId) -> None:
        """The VM's profiler reports as it should."""

    def pass_time(self, seconds: float) -> None: ...


class GuestProfilesContract:
    @pytest.fixture
    def world(self) -> ProfilesWorld:
        raise NotImplementedError

    def test_the_newest_report_is_read_once(self, world: ProfilesWorld) -> None:
        world.profiles.read()
        world.pass_time(1.0)
        world.report(world.one)
        first = world.profiles.read()[world.one]
        second = world.profiles.read()[world.one]

        assert first.report is not None
        assert first.report.work is not None
        assert not first.flaws
        assert second.report is None or second.flaws

    def test_a_vm_without_a_profiler_is_not_spoken_of(self, world: ProfilesWorld) -> None:
        world.report(world.one)

        assert world.without not in world.profiles.read()

    @pytest.mark.parametrize(
        "raw",
        [
            b"hello\n",
            b"\xff\xfe\x00\n",
            b"[" * 900 + b"\n",
            b'{"v":2,"t":1,"work":1}\n',
            b'{"v":1,"t":-1}\n',
            b'{"v":1,"t":1,"work":-5}\n',
            b'{"v":1,"t":NaN}\n',
            b'{"v":1,"t":1,"work":1e300}\n',
            b'{"v":1,"t":1,"cpu":3}\n',
            b'{"v":1,"t":1,"ops":4}\n',
            b'{"v":1}\n',
            b"x" * 5000,
        ],
    )
    def test_nonsense_is_refused_marked_and_nobody_elses_matter(
        self, world: ProfilesWorld, raw: bytes
    ) -> None:
        world.profiles.read()
        world.pass_time(1.0)
        world.report(world.other)
        world.say(world.one, raw)
        found = self.until_flawed(world)

        assert Flaw.PROFILER_NONSENSE in found[world.one].flaws
        assert found[world.other].report is not None
        assert not found[world.other].flaws

    def test_a_flood_is_cut_marked_and_nobody_elses_matter(self, world: ProfilesWorld) -> None:
        world.profiles.read()
        world.pass_time(1.0)
        world.report(world.other)
        world.say(world.one, line(1e6) * (3 * MAX_BYTES // len(line(1e6))))
        found = self.until_flawed(world)

        assert Flaw.PROFILER_FLOOD in found[world.one].flaws
        assert found[world.other].report is not None
        assert not found[world.other].flaws

    def test_a_vm_that_flooded_is_heard_again_later(self, world: ProfilesWorld) -> None:
        world.profiles.read()
        world.say(world.one, b"x" * (3 * MAX_BYTES))
        self.until_flawed(world)
        for _ in range(10):
            world.pass_time(2.0)
            world.report(world.one)
            found = world.profiles.read()[world.one]
            if found.report is not None and not found.flaws:
                return
        pytest.fail("never heard again")

    def test_two_reports_for_one_second_are_marked(self, world: ProfilesWorld) -> None:
        world.profiles.read()
        world.say(world.one, line(1e6) + line(1e6 + 0.2))
        found = self.until_flawed(world)[world.one]

        assert Flaw.PROFILER_TIME in found.flaws
        assert found.report is None

    def test_a_clock_that_goes_back_is_marked(self, world: ProfilesWorld) -> None:
        world.profiles.read()
        world.say(world.one, line(1e6) + line(1e6 - 30))
        found = self.until_flawed(world)[world.one]

        assert Flaw.PROFILER_TIME in found.flaws

    def test_after_close_it_can_be_closed_again(self, world: ProfilesWorld) -> None:
        world.profiles.close()
        world.profiles.close()

    def until_flawed(self, world: ProfilesWorld) -> dict[VmId, GuestReading]:
        """Readings of both VMs, of which the first is marked; what came meanwhile is merged."""
        found: dict[VmId, GuestReading] = {}
        for _ in range(50):
            for vm, reading in world.profiles.read().items():
                before = found.get(vm)
                if before is None or reading.report is not None or reading.flaws:
                    flaws = reading.flaws | (before.flaws if before else frozenset())
                    report = reading.report or (before.report if before else None)
                    if Flaw.PROFILER_TIME in flaws:
                        report = None
                    found[vm] = GuestReading(reading.monotonic_s, report, flaws)
            if found[world.one].flaws and found[world.other].monotonic_s:
                return found
            world.pass_time(0.01)
        return found
