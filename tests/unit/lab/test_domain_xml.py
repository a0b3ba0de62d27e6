"""The domain XML of lab guests, as libvirt will read it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from evenkeel.domain.errors import ConfigInvalid
from evenkeel.lab.config import Accel
from evenkeel.lab.domain_xml import METADATA_URI, GuestSpec, check_name, domain_xml
from evenkeel.lab.image import GuestImage
from evenkeel.lab.names import LabNames

IMAGE = GuestImage(Path("/build/vmlinuz"), Path("/build/initrd.gz"))
GOLDEN = Path(__file__).with_name("guest.golden.xml")


def xml(spec: GuestSpec, accel: Accel = Accel.TCG) -> str:
    return domain_xml("g7", 7, spec, LabNames(3), Path("/state"), (IMAGE, accel))


def tree(spec: GuestSpec, accel: Accel = Accel.TCG) -> ET.Element:
    return ET.fromstring(xml(spec, accel))


FULL = GuestSpec(
    vcpus=2,
    memory_mib=128,
    cpu_pct=40,
    pins=((0,), (0, 1)),
    shares=2048,
    quota_us=50_000,
    tenant="acme & sons",
    priority=2.5,
    exempt=True,
    disk_mib=64,
    swap=True,
)


def test_a_guest_with_everything_matches_the_golden_file() -> None:
    assert xml(FULL) + "\n" == GOLDEN.read_text()


def test_the_metadata_element_is_evenkeels() -> None:
    vm = tree(GuestSpec()).find(f"metadata/{{{METADATA_URI}}}vm")
    assert vm is not None
    assert vm.attrib == {"tenant": "default", "priority": "1", "exempt": "no"}
    assert "<evenkeel:vm " in xml(GuestSpec())


def test_kvm_takes_the_hosts_cpu() -> None:
    domain = tree(GuestSpec(), Accel.KVM)
    assert domain.get("type") == "kvm"
    assert domain.find("cpu[@mode='host-passthrough']") is not None
    assert domain.find("features/tcg") is None


def test_nothing_is_tuned_unless_asked() -> None:
    domain = tree(GuestSpec())
    assert domain.find("cputune") is None
    assert domain.find("devices/disk") is None


def test_one_pin_holds_for_all_vcpus() -> None:
    pins = tree(GuestSpec(vcpus=2, pins=((1,),))).findall("cputune/vcpupin")
    assert [(p.get("vcpu"), p.get("cpuset")) for p in pins] == [("0", "1"), ("1", "1")]


def test_a_paused_guest_loads_no_kernel() -> None:
    domain = tree(GuestSpec(paused=True, memory_mib=8))
    assert domain.find("os/kernel") is None
    assert domain.findtext("memory") == "8"


def test_a_guest_without_balloon_says_so() -> None:
    balloon = tree(GuestSpec(balloon=False)).find("devices/memballoon")
    assert balloon is not None
    assert balloon.get("model") == "none"
    assert not list(balloon)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vcpus": 0},
        {"vcpus": 17},
        {"cpu_pct": 101},
        {"memory_mib": 64},
        {"memory_mib": 0, "paused": True},
        {"vcpus": 3, "pins": ((0,), (1,))},
        {"swap": True},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid):
        GuestSpec(**wrong)


@pytest.mark.parametrize("name", ["", "G1", "1g", "g 1", "g;reboot", "g" * 32, "../g"])
def test_names_that_would_hurt_are_refused(name: str) -> None:
    with pytest.raises(ConfigInvalid):
        check_name(name)
