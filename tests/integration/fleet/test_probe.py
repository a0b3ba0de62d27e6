"""A probe on real guests: libvirt's word cannot tell two suspects apart, an experiment can.

Both suspects may run on both CPUs, as far as libvirt knows. In truth the kernel keeps one of them
on the victim's CPU and the other one off it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real_fleet import guests_on, observing

from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab
from evenkeel.lab.scenarios import knobs

pytestmark = pytest.mark.integration

SOON_S = 40.0
FOUND_S = 240.0
"""Experiments may be repeated: some are disturbed."""
QUIET_CORES = 0.6
"""Controller, agent and three calm guests take less."""
POLICY = """
[policy]
allowed = []
probe = true
probe_below = 1.0
probe_depth = 0.4
probe_rounds = 6
probes_per_hour = 240
probe_cooldown_s = 15
"""


@pytest.fixture(scope="module")
def fleet(
    make_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    config = tmp_path_factory.mktemp("probe") / "evenkeel.toml"
    config.write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENKEEL_CONFIG", str(config))
        with observing(make_lab(n_hosts=1)) as fleet:
            yield fleet


@pytest.fixture(scope="module")
def guests(fleet: Fleet) -> Iterator[dict[str, Guest]]:
    specs = {
        "victim": GuestSpec(cpu_pct=4, pins=((0,),)),
        "guilty": GuestSpec(cpu_pct=4, pins=((0, 1),)),
        "innocent": GuestSpec(cpu_pct=4, pins=((0, 1),)),
    }
    with guests_on(fleet, specs) as made:
        keep_on(fleet, "guilty", 0)
        keep_on(fleet, "innocent", 1)
        yield made


def busy_cores(seconds: float = 3.0) -> float:
    """Cores in use on this machine, by everything that runs on it."""

    def spent() -> float:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")

    before = spent()
    time.sleep(seconds)
    return (spent() - before) / seconds


def keep_on(fleet: Fleet, guest: str, cpu: int) -> None:
    """Bind the threads of a guest's QEMU to one CPU behind libvirt's back."""
    for pid in fleet.lab.host_pids("h1"):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if f"guest={guest}," in line:
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {cpu})
            return
    raise AssertionError(f"no QEMU of {guest}")


def findings(fleet: Fleet) -> list[dict[str, Any]]:
    """Of experiments made for the victim, oldest first."""
    events = fleet.get("/v1/events", limit=500)["items"]
    victim = fleet.get("/v1/vms/victim")["id"]
    done = [e["detail"] for e in events if e["kind"] == "probe_finished"]
    return [d for d in reversed(done) if d["victim"] == victim]


def verdict(fleet: Fleet, suspect: str) -> str:
    uuid = fleet.get(f"/v1/vms/{suspect}")["id"]
    told = [d["verdict"] for d in findings(fleet) if d["suspect"] == uuid]
    return next((one for one in told if one != "inconclusive"), "")


def surer_of_guilty(fleet: Fleet) -> bool:
    hurt_by = fleet.get("/v1/vms/victim/why")["hurt_by"]
    pairs = {p["aggressor_name"]: p["confidence"] for p in hurt_by}
    return bool(pairs.get("guilty", 0.0) > pairs.get("innocent", 0.0))


def test_the_one_that_hurts_is_confirmed_and_all_is_put_back(
    fleet: Fleet, guests: dict[str, Guest]
) -> None:
    fleet.wait(lambda: fleet.get("/v1/hosts/h1")["n_vms"] == 3, SOON_S, "all VMs")
    if (busy := busy_cores()) > QUIET_CORES:
        pytest.skip(f"{busy:.1f} cores are busy with something else: it would be the culprit")
    before = {name: knobs(guest) for name, guest in guests.items()}
    for guest, load in zip(guests.values(), (60, 90, 90), strict=True):
        guest.set_load(cpu=load)
    fleet.put_mode("act")
    fleet.wait(lambda: bool(verdict(fleet, "guilty")), FOUND_S, "a verdict on the guilty one")
    assert verdict(fleet, "guilty") == "confirmed", findings(fleet)
    assert verdict(fleet, "innocent") in ("", "cleared"), findings(fleet)
    # Scores hear of a finding from the tick after the one that it was made in.
    fleet.wait(lambda: surer_of_guilty(fleet), SOON_S, "confidence in the guilty one")
    found = fleet.get("/v1/vms/victim/why")["evidence"]["findings"]
    assert "confirmed" in [one["verdict"] for one in found]
    fleet.put_mode("observe")
    fleet.wait(
        lambda: {name: knobs(guest) for name, guest in guests.items()} == before,
        SOON_S,
        "the knobs as they were",
    )
    kinds = {m["kind"] for m in fleet.get("/v1/mitigations")["items"]}
    assert kinds == {"probe"}
