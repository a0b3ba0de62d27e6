"""The host's own numbers, from files as the kernel writes them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evenkeel.adapters.libvirt import procfs

STAT = """cpu  400 10 100 900 50 5 5 0 30 0
cpu0 100 0 50 500 20 5 5 0 30 0
cpu1 300 10 50 400 30 0 0 7 0 0
intr 12345 0 0
ctxt 99
"""


def test_busy_time_is_that_of_the_given_cpus(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    jiffy_ns = procfs.cpu_busy_ns(frozenset({0}), stat)
    both_ns = procfs.cpu_busy_ns(frozenset({0, 1}), stat)

    assert jiffy_ns == 160 * 10_000_000
    assert both_ns == (160 + 367) * 10_000_000
    assert procfs.cpu_busy_ns(frozenset({9}), stat) is None
    assert procfs.cpu_busy_ns(frozenset({0}), tmp_path / "missing") is None


def test_stolen_time_is_that_of_the_given_cpus(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)

    assert procfs.cpu_stolen_ns(frozenset({0}), stat) == 0
    assert procfs.cpu_stolen_ns(frozenset({0, 1}), stat) == 7 * 10_000_000
    assert procfs.cpu_stolen_ns(frozenset({9}), stat) is None
    assert procfs.cpu_stolen_ns(frozenset({0}), tmp_path / "missing") is None


def test_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2048000 kB\nMemFree: 5 kB\nMemAvailable: 1024000 kB\n")

    assert procfs.memory_mib(meminfo) == (2000.0, 1000.0)
    assert all(math.isnan(x) for x in procfs.memory_mib(tmp_path / "missing"))


def test_pressure_is_a_share(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("some avg10=31.63 avg60=9.00 avg300=2.00 total=12\nfull avg10=1")

    assert procfs.pressure("cpu", tmp_path) == pytest.approx(0.3163)


@pytest.mark.parametrize("text", ["", "full avg10=3.00", "some avg60=1", "some avg10=x", "some"])
def test_unreadable_pressure_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "io").write_text(text)

    assert math.isnan(procfs.pressure("io", tmp_path))
    assert math.isnan(procfs.pressure("memory", tmp_path))


def route(link: str, destination: str = "00000000") -> str:
    return f"Iface Destination Gateway Flags RefCnt\n{link} {destination} 0202000A 0003 0\n"


def test_the_uplink_is_the_default_route_or_the_port_of_its_bridge(tmp_path: Path) -> None:
    routes, links = tmp_path / "route", tmp_path / "net"
    for name, speed in (("eth0", "10000"), ("vnet0", "10"), ("br0", "-1"), ("eth1", "1000")):
        (links / name).mkdir(parents=True)
        (links / name / "speed").write_text(speed)
    for port in ("eth0", "vnet0"):
        (links / "br0" / "brif" / port).mkdir(parents=True)

    routes.write_text(route("eth1"))
    assert procfs.uplink_mbit_s(routes, links) == 1000
    routes.write_text(route("br0"))
    assert procfs.uplink_mbit_s(routes, links) == 10000
    routes.write_text(route("eth1", "0001A8C0"))
    assert procfs.uplink_mbit_s(routes, links) is None
    routes.write_text(route("tun0"))
    assert procfs.uplink_mbit_s(routes, links) is None
    assert procfs.uplink_mbit_s(tmp_path / "missing", links) is None
