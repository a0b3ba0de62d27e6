"""What watching costs: the agent with many domains, against asking for each domain by itself.

Domains are paused guests on a lab host: they exist in libvirt and QEMU, answer every question, and
use no CPU of their own. CPU times are the kernel's, of the agent's process and of libvirtd.
`per_domain_ratio` is what one API call a domain over an open connection costs (client and libvirtd)
over all that the agent and libvirtd spend on a tick, scoring and reporting included;
`.virsh_each` is the same for one `virsh domstats` process a domain.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from evenkeel.bench.ask_libvirt import cpu_s
from evenkeel.domain.errors import LabError
from evenkeel.envelope import Result
from evenkeel.lab.config import LabConfig, default_number
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.lab import Lab

TICK_S: Final = 5.0
GUEST_MIB: Final = 32
SWEEPS: Final = 10
VIRSH_DOMAINS: Final = 20


def bench_agent(n_domains: int, seconds: float, report: Callable[[str], None]) -> Result:
    """Start a lab host with `n_domains` paused guests and watch the agent for `seconds`."""
    start_s = time.monotonic()
    config = LabConfig(number=default_number(dict(os.environ)), n_hosts=1)
    with Lab(config) as lab:
        for i in range(n_domains):
            report(f"starting domain {i + 1} of {n_domains}")
            spec = GuestSpec(paused=True, memory_mib=GUEST_MIB, disk_mib=8)
            lab.start_guest("h1", f"d{i}", spec, wait=False)
        libvirtd = _daemon(lab, "h1")
        fleet = Fleet(lab, tick_s=TICK_S)
        fleet.start("observe", report)
        try:
            ours = _watch(fleet, libvirtd, n_domains, seconds, report)
        finally:
            fleet.stop()
        report("asking for each domain by itself")
        asked = _ask(lab, libvirtd)
    tick_cpu_s = (ours["core_pct"] + ours["libvirtd_core_pct"]) / 100 * TICK_S
    ours |= {
        f"per_domain_ratio.{way}": round(cost["total_cpu_s"] / tick_cpu_s, 2)
        for way, cost in asked.items()
        if way != "together"
    }
    ours["per_domain_ratio"] = ours["per_domain_ratio.one_call_each"]
    return Result(
        name="agent",
        seconds=round(time.monotonic() - start_s, 1),
        metrics=ours | {"domains": float(n_domains)},
        baselines={
            way: {
                "core_pct": round(cost["client_cpu_s"] / TICK_S * 100, 4),
                "libvirtd_core_pct": round(cost["libvirtd_cpu_s"] / TICK_S * 100, 4),
                "tick_ms.p95": round(cost["wall_s"] * 1e3, 3),
            }
            for way, cost in asked.items()
        },
        detail={"asked": asked, "tick_s": TICK_S, "guest_mib": GUEST_MIB},
    )


def _watch(
    fleet: Fleet, libvirtd: int, n_domains: int, seconds: float, report: Callable[[str], None]
) -> dict[str, float]:
    agent = fleet.agent("h1").pid
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["n_vms"] == n_domains, 60, "all domains")
    time.sleep(2 * TICK_S)
    cpu, served, since_s = cpu_s(agent), cpu_s(libvirtd), time.monotonic()
    ticks: list[float] = []
    while time.monotonic() - since_s < seconds:
        report(f"watching, {seconds - (time.monotonic() - since_s):.0f} s left")
        time.sleep(TICK_S)
        ticks.append(fleet.get("/v1/hosts/h1")["tick_ms"])
    passed_s = time.monotonic() - since_s
    return {
        "core_pct": round((cpu_s(agent) - cpu) / passed_s * 100, 4),
        "libvirtd_core_pct": round((cpu_s(libvirtd) - served) / passed_s * 100, 4),
        "rss_mib": round(_rss_mib(agent), 1),
        "tick_ms.p50": round(statistics.median(ticks), 3),
        "tick_ms.p95": round(sorted(ticks)[int(0.95 * (len(ticks) - 1))], 3),
    }


def _ask(lab: Lab, libvirtd: int) -> dict[str, dict[str, float]]:
    """CPU and wall seconds a sweep over all domains takes, by each way of asking."""
    argv = [sys.executable, "-m", "evenkeel.bench.ask_libvirt", str(libvirtd), str(SWEEPS)]
    ran = lab.run_on("h1", argv, timeout_s=300)
    if ran.returncode:
        raise LabError(f"asking libvirt failed: {ran.stderr[-500:]}")
    asked: dict[str, dict[str, float]] = json.loads(ran.stdout)
    names = [guest.name for guest in lab.guests()]
    asked["virsh_each"] = _ask_with_virsh(lab, libvirtd, names[:VIRSH_DOMAINS], len(names))
    for cost in asked.values():
        cost["total_cpu_s"] = cost["client_cpu_s"] + cost["libvirtd_cpu_s"]
    return asked


def _ask_with_virsh(lab: Lab, libvirtd: int, names: list[str], n_domains: int) -> dict[str, float]:
    """One `virsh domstats` a domain, as shell exporters do; a few, scaled up to all domains."""
    script = (
        "time -p sh -c 'for d in " + " ".join(names) + "; do virsh -q domstats $d; done' >/dev/null"
    )
    served = cpu_s(libvirtd)
    ran = lab.run_on("h1", ["bash", "-c", script], timeout_s=300)
    scale = n_domains / len(names)
    seconds = dict(line.split() for line in ran.stderr.splitlines() if len(line.split()) == 2)
    return {
        "client_cpu_s": scale * (float(seconds["user"]) + float(seconds["sys"])),
        "libvirtd_cpu_s": scale * (cpu_s(libvirtd) - served),
        "wall_s": scale * float(seconds["real"]),
    }


def _daemon(lab: Lab, host: str) -> int:
    for pid in lab.host_pids(host):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "libvirtd":
            return pid
    raise LabError(f"no libvirtd on {host}")


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
