"""Recorded and hostile statistics dictionaries."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.unit.libvirt.domstats_records import HUNG, RECORD

from evenkeel.adapters.libvirt import domstats
from evenkeel.domain.vm import VmState


def test_a_recorded_answer_is_summed_over_its_devices() -> None:
    assert domstats.state(RECORD) is VmState.RUNNING
    assert domstats.memory_mib(RECORD) == 96.0
    assert domstats.cpu(RECORD) == (2, 3_050_000_000, 90_812_556, 3_337_609_020)
    assert domstats.disk(RECORD) == (3, 5120, 240_009)
    assert domstats.net(RECORD) == (2001, 24, 11, 3)
    assert domstats.balloon(RECORD) == (98304, 31308, 61768, 189076, 3, 4, 7, 1795226730)


def test_a_hung_vm_has_cpu_but_neither_disk_nor_guest_memory() -> None:
    assert domstats.cpu(HUNG) == (1, 2_460_000_000, 31_313_313, 2_733_530_209)
    assert domstats.disk(HUNG) is None
    balloon = domstats.balloon(HUNG)
    assert balloon.current == 98304
    assert balloon.unused is None
    assert balloon.updated_at_s is None


def test_a_vm_without_disks_has_none_to_be_asked() -> None:
    assert domstats.disk({"block.count": 0}) == (0, 0, 0)
    assert domstats.disk({}) == (0, 0, 0)


def test_nothing_at_all_is_zero_and_unknown() -> None:
    assert domstats.state({}) is VmState.OTHER
    assert domstats.cpu({}) == (0, 0, None, 0)
    assert domstats.net({}) == (0, 0, 0, 0)
    assert set(domstats.balloon({})) == {None}


def test_delay_is_unknown_unless_every_vcpu_offers_it() -> None:
    partly = {k: v for k, v in RECORD.items() if k != "vcpu.1.delay"}

    assert domstats.cpu(partly).delay_ns is None
    assert domstats.cpu(partly).time_ns == 3_050_000_000


def test_offline_vcpus_do_not_count() -> None:
    record = {
        "vcpu.current": 2,
        "vcpu.maximum": 240,
        "vcpu.0.time": 5,
        "vcpu.0.delay": 1,
        "vcpu.7.time": 6,
        "vcpu.7.delay": 2,
    }

    assert domstats.cpu(record)[:3] == (2, 11, 3)


@pytest.mark.parametrize("value", [-5, 2**63, 2**70])
def test_implausible_numbers_pass_as_read(value: int) -> None:
    record = RECORD | {"vcpu.0.time": value, "vcpu.1.time": 0, "block.0.rd.reqs": value}
    disk = domstats.disk(record)

    assert domstats.cpu(record).time_ns == value
    assert disk is not None
    assert disk.requests == value + 1


def test_nan_passes_as_read_in_a_counter_but_not_as_memory() -> None:
    assert math.isnan(domstats.cpu(RECORD | {"vcpu.0.delay": math.nan}).delay_ns or 0)
    for memory in (math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="no amount"):
            domstats.memory_mib(RECORD | {"balloon.maximum": memory})


@pytest.mark.parametrize(
    "key",
    [
        "vcpu.0.time",
        "vcpu.1.delay",
        "vcpu.maximum",
        "cpu.time",
        "block.count",
        "block.0.rd.times",
        "net.count",
        "net.0.tx.drop",
        "balloon.unused",
        "balloon.last-update",
        "balloon.maximum",
    ],
)
@pytest.mark.parametrize("garbage", ["12", b"1", [1], {}])
def test_what_is_no_number_makes_the_record_odd(key: str, garbage: Any) -> None:
    record = RECORD | {key: garbage}

    def read() -> None:
        domstats.memory_mib(record)
        domstats.cpu(record)
        domstats.disk(record)
        domstats.net(record)
        domstats.balloon(record)

    with pytest.raises((TypeError, ValueError)):
        read()


def test_an_absurd_number_of_devices_ends() -> None:
    absurd = {"net.count": 2**40, "block.count": 2**40, "vcpu.maximum": 2**40, "net.0.rx.bytes": 7}

    assert domstats.net(absurd).bytes == 7
    assert domstats.disk(absurd) is None
    assert domstats.cpu(absurd).time_ns == 0


@pytest.mark.parametrize(("number", "state"), [(3, VmState.PAUSED), (7, VmState.PAUSED)])
def test_states(number: int, state: VmState) -> None:
    assert domstats.state({"state.state": number}) is state
    assert domstats.state({"state.state": 99}) is VmState.OTHER
