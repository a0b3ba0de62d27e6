"""A fleet in arrays: what hosts hold, what VMs want in one slot, and who is where.

Everything that decides where VMs go reads this, be the fleet live or simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.shortfall import Totals, needed

NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Hosts:
    """H hosts. `capacity` (H, R) in the resources' units, 0: has none of it, inf: nobody knows;
    `is_open` (H,): takes VMs (no maintenance, not silent); `fault_domain` (H,) codes."""

    ids: tuple[HostId, ...]
    capacity: F64
    is_open: Bools
    fault_domain: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Vms:
    """V VMs. `host` (V,) position of its host or `NOWHERE`; `mean` and `deviation` (V, R) of its
    demand in the slot; `tenant` (V,) codes; `exempt` (V,): must stay where it is."""

    ids: tuple[VmId, ...]
    host: Ints
    mean: F64
    deviation: F64
    tenant: Ints
    exempt: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """The risk that is accepted: per host and slot, for each resource, a probability of at most
    `epsilon` of a shortfall, with `correlation` (R,) between any two VMs."""

    epsilon: float
    correlation: F64


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Hosts, and the VMs on them."""

    hosts: Hosts
    vms: Vms

    def totals(self) -> Totals:
        """(H, R) sums over the VMs on each host."""
        here = self.vms.host != NOWHERE
        shape = self.hosts.capacity.shape
        out = [np.zeros(shape) for _ in range(3)]
        each = Totals.of(self.vms.mean[here], self.vms.deviation[here])
        for total, values in zip(out, (each.mean, each.variance, each.deviation), strict=True):
            np.add.at(total, self.vms.host[here], values)
        return Totals(*out)

    def fits(self, chance: Chance) -> Bools:
        """(H,) whether a host's VMs run short of nothing beyond the accepted risk."""
        return np.asarray(
            (needed(self.totals(), chance.correlation, chance.epsilon) <= self.hosts.capacity).all(
                axis=1
            )
        )


@dataclass(frozen=True, slots=True)
class Move:
    """One VM from a host to another; positions in the fleet's arrays."""

    vm: int
    source: int
    target: int
