"""A real controller and agents on a real lab, and real guests there; all gone at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab


@contextmanager
def observing(lab: Lab) -> Iterator[Fleet]:
    """A fleet that only observes, to begin with."""
    fleet = Fleet(lab)
    fleet.start("observe")
    yield fleet
    fleet.stop()


@contextmanager
def guests_on(fleet: Fleet, specs: Mapping[str, GuestSpec]) -> Iterator[dict[str, Guest]]:
    """Guests of the lab's first host that are ready to work."""
    made = {
        name: fleet.lab.start_guest("h1", name, spec, wait=False) for name, spec in specs.items()
    }
    for guest in made.values():
        guest.wait_ready()
    yield made
    for guest in made.values():
        guest.destroy()
