"""Simulated fleets as fluids: whoever wants part of a core wants that part at every moment."""

from __future__ import annotations

from dataclasses import replace

from evenkeel.sim.fleet import SimFleet


def level(fleet: SimFleet) -> SimFleet:
    """`fleet` itself, from now on without vCPUs that are on and off."""
    for host in fleet.hosts.values():
        for vm in host.vms.values():
            vm.spec = replace(vm.spec, in_spells=False)
    return fleet
