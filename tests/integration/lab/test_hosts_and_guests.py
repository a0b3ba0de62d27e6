"""Hosts and guests of a running lab: work seen from outside, processes inside, accidents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evenkeel.domain.errors import LabError
from evenkeel.lab.domain_xml import METADATA_URI, GuestSpec
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def two(lab: Lab) -> Iterator[tuple[Guest, Guest]]:
    """A guest on each host, both on the same host CPU so that they contend."""
    core = (min(os.sched_getaffinity(0)),)
    spec = GuestSpec(cpu_pct=100, pins=(core,), tenant="acme", priority=2, disk_mib=16)
    guests = [lab.start_guest(host.name, f"w-{host.name}", spec, wait=False) for host in lab.hosts]
    for guest in guests:
        guest.wait_ready()
    yield guests[0], guests[1]
    for guest in guests:
        guest.destroy()


def test_a_guests_work_is_seen_from_outside(two: tuple[Guest, Guest]) -> None:
    guest, other = two
    other.set_load(cpu=0)
    guest.set_load(cpu=0)
    assert guest.rate(0.5) < 100  # the units that were under way
    guest.set_load(cpu=50)
    half = guest.rate(2)
    guest.set_load(cpu=100)
    alone = guest.rate(2)
    assert 0.3 < half / alone < 0.8
    assert guest.get("/").startswith(f"ok {guest.name} ".encode())


def test_neighbours_on_one_core_take_work_from_each_other(two: tuple[Guest, Guest]) -> None:
    guest, other = two
    guest.set_load(cpu=100)
    other.set_load(cpu=0)
    alone = guest.rate(2)
    other.set_load(cpu=100)
    assert guest.rate(2) / alone < 0.75


def test_the_disk_answers(two: tuple[Guest, Guest]) -> None:
    done = two[0].disk(mb=1, block_kib=64)
    assert (done["bytes"], done["failed"]) == (1 << 20, 0)
    assert two[0].disk(mb=17)["failed"] == 1  # past its end


def test_status_shows_the_guests(lab: Lab, two: tuple[Guest, Guest]) -> None:
    shown = {g.name: g for host in lab.status().hosts for g in host.guests}
    for guest in two:
        assert shown[guest.name].answers
        assert shown[guest.name].uuid == guest.uuid
        assert lab.guest(guest.name) == guest


def test_metadata_names_the_tenant(two: tuple[Guest, Guest]) -> None:
    import libvirt

    told = two[0].domain().metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)
    assert 'tenant="acme"' in told.replace("'", '"')
    assert 'priority="2"' in told.replace("'", '"')


INSIDE = """
import json, os, glob, libvirt
qemu = [d.name() for d in libvirt.open("qemu:///system").listAllDomains()]
print(json.dumps({
    "cpus": sorted(os.sched_getaffinity(0)),
    "host": os.uname().nodename,
    "guests": qemu,
    "cgroups": open("/proc/self/cgroup").read().split(),
    "quota_files": glob.glob("/sys/fs/cgroup/**/vcpu0/cpu.*stat", recursive=True),
}))
"""


def test_a_process_on_a_host_is_inside_it(
    make_lab: Callable[..., Lab], two: tuple[Guest, Guest], lab: Lab
) -> None:
    done = lab.run_on("h1", [sys.executable, "-c", INSIDE])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["cpus"] == list(lab.host("h1").cpus)
    assert seen["host"] == "h1"
    assert seen["guests"] == [two[0].name]
    assert all(f"/{lab.names.cgroup}" not in line for line in seen["cgroups"])
    assert len(seen["quota_files"]) >= 1


def test_a_host_may_have_one_cpu_of_its_own(make_lab: Callable[..., Lab]) -> None:
    cpu = max(os.sched_getaffinity(0))
    single = make_lab(n_hosts=1, cpus_per_host=((cpu,),))
    shown = single.run_on("h1", ["grep", "Cpus_allowed_list", "/proc/self/status"]).stdout
    assert shown.split() == ["Cpus_allowed_list:", str(cpu)]
    paused = [
        single.start_guest("h1", f"p{i}", GuestSpec(paused=True, memory_mib=16)) for i in range(3)
    ]
    states = {g.name: g.state for g in single.status().hosts[0].guests}
    assert states == {"p0": "paused", "p1": "paused", "p2": "paused"}
    assert len({guest.address for guest in paused}) == 3
    single.down()


def test_spawned_output_environment_and_directory(lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = ["sh", "-c", "pwd; echo $COLOUR; echo err >&2; exit 3"]
    with lab.spawn_on("h2", script, {"COLOUR": "green"}, log, tmp_path) as process:
        assert process.wait(10) == 3
    assert log.read_text().split() == [str(tmp_path), "green", "err"]


def test_sh_passes_output_and_exit_status(lab: Lab) -> None:
    number = str(lab.config.number)
    words = [sys.executable, "-m", "evenkeel", "lab", "sh", "--lab", number, "h2"]
    done = subprocess.run([*words, "--", "sh", "-c", "hostname; exit 7"], capture_output=True)
    assert (done.returncode, done.stdout) == (7, b"h2\n")
    missing = subprocess.run([*words[:-1], "h9", "true"], capture_output=True)
    assert missing.returncode == 1
    assert b"lab_error" in missing.stderr


def test_guests_outlive_libvirtd(lab: Lab, two: tuple[Guest, Guest]) -> None:
    guest = two[0]
    guest.set_load(cpu=30)
    before = guest.stats()
    uuid = guest.uuid
    lab.crash_libvirtd("h1")
    assert lab.status().hosts[0].libvirt == "down"
    with pytest.raises(LabError):
        guest.domain()
    assert guest.rate(0.5) > 0
    lab.start_libvirtd("h1")
    after = guest.stats()
    assert guest.uuid == uuid
    assert after["t"] > before["t"]
    assert after["ticks"] > before["ticks"]


def test_a_host_that_lost_power_comes_back_empty(lab: Lab, two: tuple[Guest, Guest]) -> None:
    brief = lab.start_guest("h2", "brief", GuestSpec(paused=True, memory_mib=16))
    two[1].destroy()
    lab.poweroff("h2")
    assert [host.libvirt for host in lab.status().hosts] == ["up", "down"]
    lab.start_libvirtd("h2")
    assert brief.name not in [guest.name for guest in lab.guests()]
    assert lab.status().hosts[1].guests == ()


def test_a_name_in_use_and_a_number_in_use_are_refused(lab: Lab, two: tuple[Guest, Guest]) -> None:
    with pytest.raises(LabError, match="already"):
        lab.start_guest("h1", two[0].name)
    with pytest.raises(LabError, match="taken"):
        lab.start_guest("h1", "another", GuestSpec(number=two[0].number))
