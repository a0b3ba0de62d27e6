"""A libvirt that is wrong, absent, forbidden, restarted or hung."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from tests.integration.libvirt.lab_host import HOST, LabHost, eventually, seen

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.libvirt.diagnose import diagnose
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import (
    HypervisorTimeout,
    HypervisorUnavailable,
    HypervisorUriInvalid,
)
from evenkeel.domain.ids import VmId
from evenkeel.domain.vm import CpuTuning
from evenkeel.lab.guests import Guest

pytestmark = pytest.mark.integration
Make = Callable[..., LibvirtHypervisor]
LIMIT_S = 1.0

UNDER_SIGNALS = """
import os, signal, threading, libvirt
from evenkeel.adapters.libvirt.session import keep_errors_off_stderr
keep_errors_off_stderr()
for _ in range(20):
    threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            try:
                libvirt.open("qemu+unix:///system?socket=/nonexistent")
            except libvirt.libvirtError:
                pass
    except KeyboardInterrupt:
        print("told")
"""
AS_NOBODY = """
import os, sys
from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import EvenkeelError
hypervisor = LibvirtHypervisor(AgentConfig(libvirt_uri="qemu:///system"), SystemClock())
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    hypervisor.observe()
except EvenkeelError as error:
    print(error.code, "|", error.message, "|", error.hint)
"""


@pytest.mark.parametrize(
    "uri",
    ["", "nonsense", "qemu+carrier-pigeon:///system", "qemu+tcp://no-such-host.invalid/system"],
)
def test_a_wrong_uri_is_said_to_be_wrong(make_hypervisor: Make, uri: str) -> None:
    with pytest.raises(HypervisorUriInvalid) as caught:
        make_hypervisor(libvirt_uri=uri).observe()
    assert caught.value.code == "hypervisor_uri_invalid"
    assert "libvirt_uri" in caught.value.hint


@pytest.mark.parametrize("path", ["/nonsense", "/system/more"])
def test_a_wrong_path_on_a_real_libvirt_is_a_wrong_uri(
    make_hypervisor: Make, lab_host: LabHost, path: str
) -> None:
    with pytest.raises(HypervisorUriInvalid):
        make_hypervisor(libvirt_uri=lab_host.uri.replace("/system", path)).observe()


def test_an_unknown_driver_on_a_real_libvirt_is_a_wrong_uri(
    make_hypervisor: Make, lab_host: LabHost
) -> None:
    with pytest.raises(HypervisorUriInvalid):
        make_hypervisor(libvirt_uri=lab_host.uri.replace("qemu", "vmm")).observe()


@pytest.mark.parametrize(
    "uri",
    ["qemu+unix:///system?socket=/nowhere/libvirt-sock", "qemu+tcp://127.0.0.1:1/system"],
)
def test_no_libvirt_there(make_hypervisor: Make, uri: str) -> None:
    with pytest.raises(HypervisorUnavailable):
        make_hypervisor(libvirt_uri=uri).observe()
    [finding, *_] = diagnose(AgentConfig(libvirt_uri=uri), SystemClock())
    assert finding.check == "libvirt"
    assert finding.ok is False
    assert "hypervisor_unavailable" in finding.message
    assert finding.hint


def test_without_permission_it_is_denied(lab_host: LabHost) -> None:
    socket = "/run/libvirt/libvirt-sock"
    lab_host.lab.run_on(HOST, ["chmod", "700", socket])
    try:
        ran = lab_host.lab.run_on(HOST, [sys.executable, "-c", AS_NOBODY])
    finally:
        lab_host.lab.run_on(HOST, ["chmod", "777", socket])

    assert ran.stdout.startswith("hypervisor_denied |"), ran.stdout + ran.stderr
    assert "libvirt group" in ran.stdout


def test_an_interrupt_that_comes_while_libvirt_fails_is_an_interrupt() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNDER_SIGNALS], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split() == ["told"] * 20, ran.stderr[-500:]


def test_a_restarted_libvirtd_is_told_once_and_found_again(
    make_hypervisor: Make, lab_host: LabHost, busy_guest: Guest
) -> None:
    hypervisor = make_hypervisor()
    before = seen(hypervisor, busy_guest)
    lab_host.lab.crash_libvirtd(HOST)
    try:
        for _ in range(2):
            with pytest.raises(HypervisorUnavailable):
                hypervisor.observe()
    finally:
        lab_host.lab.start_libvirtd(HOST)

    after = seen(hypervisor, busy_guest)
    assert after.incarnation == before.incarnation
    assert after.vcpu_time_ns > before.vcpu_time_ns
    assert tuning_at_last(hypervisor, busy_guest) == before.vm.tuning


def tuning_at_last(hypervisor: LibvirtHypervisor, guest: Guest) -> CpuTuning:
    """A libvirtd that has just started may not have found the VM's cgroup again."""
    until_s = time.monotonic() + 10
    while True:
        try:
            return hypervisor.tuning(VmId(guest.uuid))
        except HypervisorUnavailable:
            assert time.monotonic() < until_s
            time.sleep(0.1)


def test_a_restart_between_two_calls_costs_one_error(
    make_hypervisor: Make, lab_host: LabHost, busy_guest: Guest
) -> None:
    hypervisor = make_hypervisor()
    hypervisor.observe()
    lab_host.lab.crash_libvirtd(HOST)
    lab_host.lab.start_libvirtd(HOST)

    with pytest.raises(HypervisorUnavailable):
        hypervisor.observe()
    assert seen(hypervisor, busy_guest)


def test_a_hung_libvirtd_costs_no_more_than_the_limit_and_recovers(
    make_hypervisor: Make, lab_host: LabHost, busy_guest: Guest
) -> None:
    hypervisor = make_hypervisor(libvirt_timeout_s=LIMIT_S)
    before = seen(hypervisor, busy_guest)
    with lab_host.stopped(lab_host.pid_of("libvirtd", "--listen")):
        for call in (hypervisor.observe, lambda: hypervisor.tuning(before.vm.id)):
            began_s = time.monotonic()
            with pytest.raises(HypervisorTimeout) as caught:
                call()
            assert LIMIT_S <= time.monotonic() - began_s < LIMIT_S + 0.5
            assert caught.value.code == "hypervisor_timeout"
        assert hypervisor.n_hung_calls == 2

    assert seen(hypervisor, busy_guest).vcpu_time_ns > before.vcpu_time_ns
    assert eventually(lambda: hypervisor.n_hung_calls == 0), "hung calls come back and end"


def test_a_hung_vm_costs_one_tick_and_hides_no_other_vm(
    make_hypervisor: Make,
    lab_host: LabHost,
    busy_guest: Guest,
    start: Callable[..., Guest],
) -> None:
    hung = start("hung", paused=True, disk_mib=1)
    hypervisor = make_hypervisor(libvirt_timeout_s=LIMIT_S)
    before = seen(hypervisor, hung)
    with lab_host.stopped(lab_host.pid_of("qemu-system", f"guest={hung.name},")):
        with pytest.raises(HypervisorTimeout):
            hypervisor.observe()
        first, stuck = seen(hypervisor, busy_guest), seen(hypervisor, hung)
        time.sleep(0.3)
        assert seen(hypervisor, busy_guest).vcpu_time_ns > first.vcpu_time_ns
        assert stuck.disk_requests == before.disk_requests
        assert stuck.vm.tuning == before.vm.tuning

    assert eventually(lambda: hypervisor.n_hung_calls == 0)
    assert seen(hypervisor, hung).disk_requests >= before.disk_requests


def test_closing_and_calling_again_works(hypervisor: LibvirtHypervisor, busy_guest: Guest) -> None:
    assert seen(hypervisor, busy_guest)
    hypervisor.close()
    hypervisor.close()
    assert seen(hypervisor, busy_guest)
