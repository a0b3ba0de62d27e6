"""The allocator of the live fleet: laid out anew now and then, kept up to date in between.

A new layout is made on a thread of its own while the old one serves; what was placed meanwhile is
done again on the new one. `PlacementService` asks for it with its lock held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from evenkeel.controller.layout import Reserved, lay_out, put_in_cell
from evenkeel.controller.present import Present, forecast_ahead
from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import VmId
from evenkeel.domain.quantiles import moments
from evenkeel.domain.vm import Vm
from evenkeel.placement.allocate import Allocator, Seat, Taste
from evenkeel.placement.fleet import Chance
from evenkeel.placement.slices import ALL_SLICES

ANEW_S: Final = 60.0
RETRY_S: Final = 5.0
TOO_OLD_S: Final = 300.0
"""An older one is not used even while a new one is in the making."""
_log = structlog.get_logger("evenkeel.placement")


class StandingFleet:
    """Not thread-safe: the placement service locks.

    Parameters
    ----------
    present : what is told of the fleet
    chance : the accepted risk
    reserved : VMs with a claim, whether they run or not
    """

    def __init__(
        self,
        present: Present,
        chance: Chance,
        reserved: Callable[[], Iterable[Reserved]] = tuple,
        taste: Taste | None = None,
    ) -> None:
        self._present = present
        self._clock = present.clock
        self._chance = chance
        self._reserved = reserved
        self._taste = taste or Taste()
        self._allocator: Allocator | None = None
        self._made_at_s = self._again_at_s = 0.0
        self._next: _Making | None = None

    def __call__(self) -> Allocator:
        """Raises StoreUnavailable."""
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._made_at_s
        if self._allocator is None or age_s >= TOO_OLD_S:
            self._next = None
            self._take(self._made(_seats_of(self._allocator)))
        elif self._next is not None and self._next.is_done():
            made, self._next = self._next.allocator, None
            if made is not None:
                self._take(made)
            else:
                self._again_at_s = now_s + RETRY_S
        elif self._next is None and age_s >= ANEW_S and now_s >= self._again_at_s:
            seats = _seats_of(self._allocator)
            self._allocator.journal = []
            self._next = _Making(lambda: self._made(seats))
        assert self._allocator is not None
        return self._allocator

    def expected(self, vm: Vm) -> tuple[F64, F64]:
        """Mean and deviation (R,) of a VM's demand, NaN where it is not forecast."""
        mean, deviation = moments(forecast_ahead(self._present.latest(), [vm]))
        return mean[0], deviation[0]

    def forget(self) -> None:
        """Lay it out anew before it is used again."""
        self._made_at_s = -TOO_OLD_S

    def _take(self, made: Allocator) -> None:
        """Serve with a new layout, after what the old one did while it was made."""
        before, self._allocator = self._allocator, made
        self._made_at_s = self._clock.monotonic_s()
        if before is None:
            return
        made.pending |= before.pending
        done = list(before.journal or ())
        late = [before.seats[vm] for vm in before.pending if vm in before.seats]
        for one in [*done, *late]:
            if not isinstance(one, Seat):
                made.remove(one)
            elif one.vm.vm not in made.seats and (one.vm.vm in before.seats):
                host = made.position(before.slices.layout.hosts.ids[one.host])
                if host is not None:
                    put_in_cell(made, host, _cell(before, one), one.vm)

    def _made(self, before: Mapping[VmId, Reserved]) -> Allocator:
        """`before`: what is known of VMs that the former layout had."""
        reserved = {}
        for one in self._reserved():
            vm = one.vm.vm
            reserved[vm] = _remembered(one, before[vm]) if vm in before else one
        return lay_out(self._present.look(), reserved, self._chance, self._taste)


class _Making:
    """A layout in the making."""

    def __init__(self, make: Callable[[], Allocator]) -> None:
        self.allocator: Allocator | None = None
        self._make = make
        self._thread = threading.Thread(target=self._run, name="placement", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.allocator = self._make()
        except EvenkeelError as error:  # the old one serves on; it is tried again
            _log.warning("layout_failed", code=error.code, reason=error.message)
        except Exception:
            _log.exception("layout_crashed")


def _seats_of(before: Allocator | None) -> dict[VmId, Reserved]:
    if before is None:
        return {}
    ids = before.slices.layout.hosts.ids
    return {
        vm: Reserved(seat.vm, ids[seat.host], _cell(before, seat))
        for vm, seat in before.seats.items()
    }


def _cell(of: Allocator, seat: Seat) -> int:
    if seat.where == ALL_SLICES:
        return ALL_SLICES
    return seat.where - int(of.slices.layout.first[seat.host])


def _remembered(claimed: Reserved, before: Reserved) -> Reserved:
    """Claims do not know the cell."""
    return replace(claimed, cell=before.cell if before.host == claimed.host else ALL_SLICES)
