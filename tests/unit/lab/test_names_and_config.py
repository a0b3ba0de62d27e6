"""A lab's names, addresses and settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.domain.errors import ConfigInvalid
from evenkeel.lab.config import LabConfig, default_directory, default_number, parse_cpus_per_host
from evenkeel.lab.names import MAX_GUESTS, MAX_HOSTS, MAX_LAB, LabNames, host_number

numbers = st.integers(0, MAX_LAB)


def addresses(names: LabNames) -> list[str]:
    hosts = [names.host_address(i) for i in range(1, MAX_HOSTS + 1)]
    guests = [names.guest_address(i) for i in range(1, MAX_GUESTS + 1)]
    return [*hosts, *guests, names.outside_address]


@given(numbers)
def test_no_two_things_of_a_lab_share_an_address(number: int) -> None:
    found = addresses(LabNames(number))
    assert len(set(found)) == len(found)
    assert all(0 < int(address.rsplit(".", 1)[1]) < 255 for address in found)


@given(numbers, numbers)
def test_two_labs_share_nothing(one: int, other: int) -> None:
    if one == other:
        return
    a, b = LabNames(one), LabNames(other)
    assert not set(addresses(a)) & set(addresses(b))
    assert a.guest_mac(1) != b.guest_mac(1)
    assert a.host_uuid(1) != b.host_uuid(1)
    assert a.cgroup != b.cgroup
    assert not b.host_namespace("h1").startswith(a.namespace_prefix)


@given(numbers)
def test_interface_names_fit_the_kernels_15_characters(number: int) -> None:
    names = LabNames(number)
    assert len(names.interface) <= 15
    assert len(names.host(MAX_HOSTS)) <= 15


@given(numbers, st.integers(1, MAX_GUESTS))
def test_a_guests_number_is_read_back_from_its_mac(number: int, guest: int) -> None:
    names = LabNames(number)
    assert names.guest_number(names.guest_mac(guest).upper()) == guest
    assert names.guest_number("52:54:00:12:34:56") is None


@pytest.mark.parametrize(
    ("name", "number"), [("h1", 1), ("h32", 32), ("h0", None), ("h", None), ("x1", None)]
)
def test_host_names(name: str, number: int | None) -> None:
    assert host_number(name) == number


def test_the_default_lab_has_two_hosts_on_all_cpus() -> None:
    config = LabConfig(number=3)
    everything = tuple(sorted(os.sched_getaffinity(0)))
    assert (config.n_hosts, config.cpus(1), config.cpus(2)) == (2, everything, everything)
    assert config.state_dir == config.directory / "3"


def test_each_host_may_have_cpus_of_its_own() -> None:
    first = min(os.sched_getaffinity(0))
    config = LabConfig(n_hosts=2, cpus_per_host=((first,), tuple(os.sched_getaffinity(0))))
    assert config.cpus(1) == (first,)
    assert config.cpus(2) == tuple(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": -1},
        {"number": MAX_LAB + 1},
        {"n_hosts": 0},
        {"n_hosts": MAX_HOSTS + 1},
        {"n_hosts": 2, "guests_per_host": 77},
        {"n_hosts": 3, "cpus_per_host": ((0,), (0,))},
        {"cpus_per_host": ((4095,),)},
        {"cpus_per_host": ((),)},
    ],
)
def test_what_has_no_address_or_cpu_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigInvalid):
        LabConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", ()), ("0-1", ((0, 1),)), ("0:1", ((0,), (1,))), ("0,2:1-3", ((0, 2), (1, 2, 3)))],
)
def test_cpu_lists(text: str, cpus: tuple[tuple[int, ...], ...]) -> None:
    assert parse_cpus_per_host(text) == cpus


def test_the_environment_picks_number_and_place() -> None:
    assert default_number({}) == 0
    assert default_number({"EVENKEEL_LAB": "7"}) == 7
    assert default_directory({"EVENKEEL_LAB_DIR": "/somewhere"}) == Path("/somewhere")
    assert default_directory({}) == Path.cwd() / ".lab"
    with pytest.raises(ConfigInvalid, match="EVENKEEL_LAB"):
        default_number({"EVENKEEL_LAB": "first"})
