"""A lab guest as libvirt domain XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evenkeel.domain.errors import ConfigInvalid
from evenkeel.lab.config import Accel
from evenkeel.lab.image import GuestImage
from evenkeel.lab.names import LabNames

METADATA_URI: Final = "https://evenkeel.dev/xmlns/vm/1"
PROFILER_PORT: Final = "evenkeel.profiler.0"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What a guest has and does. Raises ConfigInvalid for what cannot work.

    Parameters
    ----------
    cpu_pct
        Share of each vCPU's time that the guest wants from its start on, 0..100.
    pins
        Host CPUs each vCPU may run on: one tuple for all, or one per vCPU; empty: any of the host.
    shares, quota_us
        CPU weight and quota per vCPU and period of 100 ms, as libvirt has them; None: untouched.
    disk_mib
        Size of a sparse disk, vda; 0: none. `swap` makes the guest swap to it.
    balloon
        Whether it has a balloon that reports memory statistics every second.
    profiler
        Whether it has the port on which its profiler reports to the host.
    paused
        Never runs and loads no kernel: for counting domains, at little cost.
    number
        Decides address and MAC; None: the lowest that is free.
    """

    vcpus: int = 1
    memory_mib: int = 96
    cpu_pct: int = 0
    pins: tuple[tuple[int, ...], ...] = ()
    shares: int | None = None
    quota_us: int | None = None
    tenant: str = "default"
    priority: float = 1
    exempt: bool = False
    disk_mib: int = 0
    swap: bool = False
    balloon: bool = True
    profiler: bool = True
    paused: bool = False
    number: int | None = None

    def __post_init__(self) -> None:
        wrong = {
            f"vcpus is {self.vcpus}, not 1..16": not 1 <= self.vcpus <= 16,
            f"cpu_pct is {self.cpu_pct}, not 0..100": not 0 <= self.cpu_pct <= 100,
            "a running guest needs 80 MiB": not self.paused and self.memory_mib < 80,
            f"memory_mib is {self.memory_mib}": self.memory_mib < 1,
            f"{len(self.pins)} pins for {self.vcpus} vCPUs": len(self.pins)
            not in (0, 1, self.vcpus),
            "swap needs a disk": self.swap and not self.disk_mib,
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise ConfigInvalid(f"guest: {message}", hint="")


def check_name(name: str) -> None:
    """Raise ConfigInvalid unless the name suits libvirt, hostname and kernel command line."""
    if not _NAME.fullmatch(name):
        raise ConfigInvalid(
            f"{name!r} is not a guest's name",
            hint="A letter, then letters, digits and hyphens, all small.",
        )


def disk_path(state_dir: Path, name: str) -> Path:
    return state_dir / "img" / f"{name}.img"


def domain_xml(
    name: str,
    number: int,
    spec: GuestSpec,
    names: LabNames,
    state_dir: Path,
    boot: tuple[GuestImage, Accel],
) -> str:
    """The domain's XML; `number` decides address and MAC, `boot` what it boots and with what."""
    image, accel = boot
    domain = ET.Element("domain", type="kvm" if accel is Accel.KVM else "qemu")
    _text(domain, "name", name)
    _text(_sub(domain, "metadata"), f"{{{METADATA_URI}}}vm", None, **_evenkeel(spec))
    _text(domain, "memory", spec.memory_mib, unit="MiB")
    _text(domain, "vcpu", spec.vcpus, placement="static")
    _cputune(domain, spec)
    system = _sub(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    if not spec.paused:
        _text(system, "kernel", image.kernel)
        _text(system, "initrd", image.initrd)
        _text(system, "cmdline", _cmdline(name, number, spec, names))
    features = _sub(domain, "features")
    _sub(features, "acpi")
    if accel is Accel.KVM:
        _sub(domain, "cpu", mode="host-passthrough", check="none")
    else:
        _text(_sub(features, "tcg"), "tb-cache", 32, unit="MiB")
        cpu = _sub(domain, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", "qemu64", fallback="allow")
    _text(domain, "on_crash", "destroy")
    _devices(_sub(domain, "devices"), name, names.guest_mac(number), spec, state_dir)
    ET.register_namespace("evenkeel", METADATA_URI)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def _evenkeel(spec: GuestSpec) -> dict[str, str]:
    return {
        "tenant": spec.tenant,
        "priority": f"{spec.priority:g}",
        "exempt": "yes" if spec.exempt else "no",
    }


def _cputune(domain: ET.Element, spec: GuestSpec) -> None:
    tune = ET.Element("cputune")
    if spec.shares is not None:
        _text(tune, "shares", spec.shares)
    if spec.quota_us is not None:
        _text(tune, "period", 100_000)
        _text(tune, "quota", spec.quota_us)
    for vcpu in range(spec.vcpus if spec.pins else 0):
        pins = spec.pins[vcpu if len(spec.pins) > 1 else 0]
        _sub(tune, "vcpupin", vcpu=str(vcpu), cpuset=",".join(map(str, pins)))
    if len(tune):
        domain.append(tune)


def _cmdline(name: str, number: int, spec: GuestSpec, names: LabNames) -> str:
    words = ["console=ttyS0", "quiet", "mitigations=off", f"lab.name={name}"]
    words += [f"lab.ip={names.guest_address(number)}", f"lab.gw={names.outside_address}"]
    words += [f"lab.cpu={spec.cpu_pct}", f"lab.thr={spec.vcpus}"]
    return " ".join([*words, *(["lab.swap=1"] if spec.swap else [])])


def _devices(devices: ET.Element, name: str, mac: str, spec: GuestSpec, state_dir: Path) -> None:
    _text(devices, "emulator", "/usr/bin/qemu-system-x86_64")
    if spec.disk_mib:
        disk = _sub(devices, "disk", type="file", device="disk")
        _sub(disk, "driver", name="qemu", type="raw", cache="none", io="threads")
        _sub(disk, "source", file=str(disk_path(state_dir, name)))
        _sub(disk, "target", dev="vda", bus="virtio")
    _sub(devices, "controller", type="usb", model="none")
    interface = _sub(devices, "interface", type="bridge")
    _sub(interface, "mac", address=mac)
    _sub(interface, "source", bridge="br0")
    _sub(interface, "model", type="virtio")
    serial = _sub(devices, "serial", type="pty")
    _sub(serial, "log", file=f"/var/log/libvirt/{name}.serial", append="off")
    if spec.profiler:
        channel = _sub(devices, "channel", type="unix")
        _sub(channel, "target", type="virtio", name=PROFILER_PORT)
    balloon = _sub(devices, "memballoon", model="virtio" if spec.balloon else "none")
    if spec.balloon:
        _sub(balloon, "stats", period="1")


def _sub(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _text(parent: ET.Element, tag: str, value: object, **attributes: str) -> None:
    element = ET.SubElement(parent, tag, attributes)
    element.text = None if value is None else str(value)
