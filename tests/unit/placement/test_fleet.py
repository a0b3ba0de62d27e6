"""A fleet's sums by host, and whether they fit."""

import numpy as np

from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.fleet import NOWHERE, Chance, Fleet, Hosts, Vms


def a_fleet(host, mean, deviation, capacity):
    n_hosts, n_vms = len(capacity), len(host)
    return Fleet(
        Hosts(
            tuple(HostId(f"h{i}") for i in range(n_hosts)),
            np.array(capacity, dtype=float),
            np.ones(n_hosts, dtype=bool),
            np.arange(n_hosts),
        ),
        Vms(
            tuple(VmId(f"vm{i}") for i in range(n_vms)),
            np.array(host),
            np.array(mean, dtype=float),
            np.array(deviation, dtype=float),
            np.zeros(n_vms, dtype=int),
            np.zeros(n_vms, dtype=bool),
        ),
    )


def test_sums_are_by_host_and_leave_out_who_is_nowhere():
    fleet = a_fleet([0, 0, 1, NOWHERE], [[1], [2], [4], [8]], [[1], [1], [2], [9]], [[9], [9]])
    totals = fleet.totals()
    assert totals.mean.tolist() == [[3.0], [4.0]]
    assert totals.variance.tolist() == [[2.0], [4.0]]
    assert totals.deviation.tolist() == [[2.0], [2.0]]


def test_a_host_fits_while_the_risk_is_small_in_every_resource():
    mean = [[2.0, 100.0], [2.0, 100.0]]
    deviation = [[0.5, 0.0], [0.5, 0.0]]
    chance = Chance(0.01, np.zeros(2))
    room = [[6.0, 200.0], [6.0, 99.0], [5.0, 200.0]]
    for n, at in enumerate(([0, 0], [1, 1], [2, 2])):
        fits = a_fleet(at, mean, deviation, room).fits(chance)
        assert fits.tolist() == [n == 0 or i != n for i in range(3)]
