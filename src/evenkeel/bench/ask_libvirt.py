"""Runs on a lab host: what one sweep over all domains costs, by three ways of asking libvirt.

`python -m evenkeel.bench.ask_libvirt LIBVIRTD_PID SWEEPS` prints JSON: seconds of client CPU,
libvirtd CPU and wall time a sweep. `together` is the agent's one call.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt

from evenkeel.adapters.libvirt.session import keep_errors_off_stderr


def main() -> None:
    daemon_pid, sweeps = int(sys.argv[1]), int(sys.argv[2])
    keep_errors_off_stderr()
    connection = libvirt.open("qemu:///system")
    taps = {d.UUIDString(): _tap(d) for d in connection.listAllDomains(0)}
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

    def together() -> None:
        connection.getAllDomainStats(0, nowait)

    def one_call_each() -> None:
        for domain in connection.listAllDomains(0):
            connection.domainListGetStats([domain], 0, nowait)

    def field_by_field() -> None:
        for domain in connection.listAllDomains(0):
            domain.info()
            domain.vcpus()
            domain.memoryStats()
            domain.blockStats("vda")
            domain.interfaceStats(taps[domain.UUIDString()])

    ways = {"together": together, "one_call_each": one_call_each, "field_by_field": field_by_field}
    print(json.dumps({name: _cost(ask, daemon_pid, sweeps) for name, ask in ways.items()}))


def _cost(ask: Callable[[], None], daemon_pid: int, sweeps: int) -> dict[str, float]:
    ask()
    client, daemon, wall = time.process_time(), cpu_s(daemon_pid), time.monotonic()
    for _ in range(sweeps):
        ask()
    return {
        "client_cpu_s": (time.process_time() - client) / sweeps,
        "libvirtd_cpu_s": (cpu_s(daemon_pid) - daemon) / sweeps,
        "wall_s": (time.monotonic() - wall) / sweeps,
    }


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def _tap(domain: Any) -> str:
    target = ElementTree.fromstring(domain.XMLDesc()).find("./devices/interface/target")  # noqa: S314  libvirt's
    return "" if target is None else str(target.get("dev"))


if __name__ == "__main__":
    main()
