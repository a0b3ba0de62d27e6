"""What a host has, and what nobody knows that it has."""

from __future__ import annotations

from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.placement.calendar import UNKNOWN, capacity_shards


def test_what_is_not_told_is_unknown_and_not_nothing():
    host = Host(HostId("h"), (), 4096.0, net_mbit_s=0.0)
    assert [host.capacity[r] for r in AXIS] == [None, 4096.0, None, None]
    assert capacity_shards(host.capacity).tolist() == [UNKNOWN, 64, UNKNOWN, UNKNOWN]


def test_what_is_told_is_in_the_resources_unit():
    host = Host(HostId("h"), (0, 1), 4096.0, net_mbit_s=1000.0, iops=500.0)
    assert [host.capacity[r] for r in AXIS] == [2.0, 4096.0, 1000.0, 500.0]
    assert capacity_shards(host.capacity)[0] == 40
    assert set(host.capacity) == set(Resource)
