"""Forecasts every VM once a slot: history in, demand vectors out.

One pass at a time, on a thread of its own; readers always see the latest whole forecast.
What goes wrong is told once in the event log, counted, and shown as the service's trouble: a
champion that cannot be loaded gives way to the one before it, one that fails to the built-in
forecaster, a full disk costs history and no forecast in memory.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import numpy as np

from evenkeel.config import ForecastConfig
from evenkeel.controller.near import Latest, n_near_slots, slots_ahead
from evenkeel.controller.profiling import PROFILE_VMS, Profiler
from evenkeel.controller.rollup import RollUps
from evenkeel.controller.serving import Serving
from evenkeel.controller.warmth import WarmPanels
from evenkeel.controller.watch import Watch, slots_looked_at
from evenkeel.domain.deviation import DemandDeviation
from evenkeel.domain.errors import EvenkeelError, ForecastUnavailable
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import VmId
from evenkeel.domain.profile import Profile
from evenkeel.domain.rdv import DemandVector, FleetDemand, ResourceDemand
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.domain.vm import Vm
from evenkeel.forecast.base import Forecaster, Targets
from evenkeel.forecast.windows import last_known
from evenkeel.forecast.workers import IN_TURN, Workers
from evenkeel.ports import Clock
from evenkeel.ports_history import ForecastShelf, History, ModelRegistry, PanelSource
from evenkeel.ports_store import Store
from evenkeel.wire import SlotsAhead

TIDY_EVERY_S: Final = 900.0
TIDY_AFTER_S: Final = 3600.0
"""Hours and days are compacted when they are over for this long."""
RETRY_S: Final = 30.0
"""A forecast that failed is tried again after this."""
DAY_S: Final = 86_400.0
T = TypeVar("T")


@dataclass(slots=True)
class ForecastFigures:
    """For /metrics; written by the forecasting thread alone."""

    seconds: float = 0.0
    n_vms: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class ForecastService:
    """Keeps history and forecasts current; `run` is one pass, all else may be asked meanwhile.

    Parameters
    ----------
    source : where panels come from: `history`, or Prometheus
    history, rollups : telemetry of our own; None where only `source` is used
    watch : what is told of every forecast; None: nobody looks what becomes of them
    workers, cluster : who forecasts; the cluster, where there is one and it can be reached
    forecaster : makes the forecaster of a name, to load a champion; ConfigInvalid if unknown
    """

    def __init__(
        self,
        source: PanelSource,
        registry: ModelRegistry,
        shelf: ForecastShelf,
        forecaster: Callable[[str], Forecaster],
        store: Store,
        clock: Clock,
        settings: ForecastConfig,
        history: History | None = None,
        rollups: RollUps | None = None,
        watch: Watch | None = None,
        workers: Workers = IN_TURN,
        cluster: Workers | None = None,
    ) -> None:
        self.registry = registry
        self.watch = watch
        self.figures = ForecastFigures()
        self._source = source
        self._shelf = shelf
        self._store = store
        self._clock = clock
        self._settings = settings
        self.history = history
        self._rollups = rollups
        self._calendar = settings.calendar()
        self._targets = _targets(settings)
        self._pass = threading.Lock()
        self._profiler = Profiler()
        n_slots = max(1, int(settings.context_hours * 3600 // settings.slot_s))
        stamps = history.slots if history is source else None
        self._warm = {
            resource: WarmPanels(source, resource, settings.slot_s, n_slots, self._calendar, stamps)
            for resource in AXIS
        }
        self._serving = Serving(
            registry, shelf, forecaster, self._targets, self._try, workers, cluster
        )
        self._trouble: dict[str, str] = {}
        self._tidied_s = -np.inf
        self._tried: dict[Resource, tuple[int, float]] = {}
        self._latest: dict[Resource, Latest] = {}
        for fleet in shelf.load():
            self._show(fleet)
        self._told: Mapping[Resource, Latest] = dict(self._latest)

    # --- what readers ask ---

    def vector(self, vm: VmId, name: str | None = None) -> DemandVector:
        """The latest forecast of a VM, by its id or by the name that the source knows it by.

        Raises ForecastUnavailable.
        """
        demands: dict[Resource, ResourceDemand] = {}
        for resource, latest in list(self._latest.items()):
            row = latest.row_of.get(vm, latest.row_of.get(name) if name else None)
            if row is not None:
                demands[resource] = latest.fleet.row(row)
        if not demands:
            raise ForecastUnavailable(f"there is no forecast of {vm!r} yet")
        return DemandVector(vm, {r: demands[r] for r in AXIS if r in demands})

    def profiles(self, vm: VmId, name: str | None = None) -> dict[Resource, Profile]:
        """How a VM behaves. Raises ForecastUnavailable before the first look at its history."""
        found = self._profiler.of(vm, name)
        if not found:
            raise ForecastUnavailable(f"there is no profile of {vm!r} yet")
        return found

    def deviations(self, vm: VmId, name: str | None = None) -> dict[Resource, DemandDeviation]:
        """How a VM departs from what was forecast of it; nothing where it does not."""
        return self.watch.deviations.of(vm, name) if self.watch else {}

    def near(self, vms: Sequence[Vm], newer_than_s: float) -> SlotsAhead | None:
        """The next slots of a host's VMs, if they are newer than those of an origin."""
        n_slots = n_near_slots(self._settings.slot_s, self._settings.grace_s)
        return slots_ahead(self._told, vms, n_slots, newer_than_s)

    def told(self) -> Mapping[Resource, Latest]:
        """The forecasts of the last whole pass."""
        return self._told

    def latest(self) -> dict[Resource, FleetDemand]:
        return {resource: latest.fleet for resource, latest in self._latest.items()}

    def age_s(self, resource: Resource) -> float | None:
        """How old the newest known slot behind the forecast is; None: there is no forecast."""
        latest = self._latest.get(resource)
        return None if latest is None else max(0.0, self._clock.wall_s() - latest.fleet.origin_s)

    def trouble(self) -> list[str]:
        """What is wrong now, one line each."""
        damaged = self.history.problems() if self.history else {}
        files = [f"history file {name}: {reason}" for name, reason in sorted(damaged.items())]
        return [f"forecasts: {text}" for text in [*self._trouble.values(), *files[:3]]]

    def close(self) -> None:
        """End what goes on beside the passes."""
        if self.watch is not None:
            self.watch.close()

    # --- one pass ---

    def run(self) -> bool:
        """Roll up, and forecast if a slot was completed; whether it did. Never raises."""
        with self._pass:
            if self._rollups is not None:
                self._try("rollup", self._rollups.run)
            end_s = self._newest_end_s()
            now_s = self._clock.monotonic_s()
            due = [
                resource
                for resource in AXIS
                if self._origin_s(resource) < end_s
                and self._tried.get(resource, (0, -np.inf)) < (end_s, now_s - RETRY_S)
            ]
            if due:
                began_s = self._clock.monotonic_s()
                for resource in due:
                    self._tried[resource] = (end_s, now_s)
                    self._try(f"forecast_{resource.value}", partial(self._do, resource, end_s))
                self.figures.seconds = self._clock.monotonic_s() - began_s
                self.figures.counts["passes"] += 1
                self._told = dict(self._latest)
            if self.watch is not None:
                self._try("training", self.watch.tend)
            if self.history is not None and self._tidied_s + TIDY_EVERY_S <= self._clock.wall_s():
                self._tidied_s = self._clock.wall_s()
                self._try("tidy", lambda: self._tidy(end_s))
            return bool(due)

    def _newest_end_s(self) -> int:
        """Where the newest complete slot ends."""
        step_s = self._settings.slot_s
        return int((self._clock.wall_s() - self._settings.grace_s) // step_s * step_s)

    def _origin_s(self, resource: Resource) -> float:
        latest = self._latest.get(resource)
        origin_s = -np.inf if latest is None else latest.fleet.origin_s
        # A forecast from the future (the clock went back) does not block those of now.
        return origin_s if origin_s <= self._clock.wall_s() else -np.inf

    def _do(self, resource: Resource, end_s: int) -> None:
        step_s = self._settings.slot_s
        warm = self._warm[resource].advance(end_s)
        line = self._line(resource) if warm.recent.n_series else ()
        said = self._serving.forecast(resource, warm, line)
        forecast = said.forecast
        fleet = FleetDemand(
            resource=resource,
            origin_s=forecast.origin_s,
            step_s=float(step_s),
            horizons_s=tuple(float(h * step_s) for h in self._targets.horizons),
            windows_s=tuple(float(w * step_s) for w in self._targets.windows),
            ids=warm.recent.ids,
            values=forecast.values,
            peaks=forecast.peaks,
            now=last_known(warm.recent.values).astype(np.float64),
            capacity=warm.recent.capacity,
            model=said.model,
        )
        self._show(fleet)
        self.figures.n_vms = len(fleet.ids)
        self._try(f"shelf_{resource.value}", lambda: self._shelf.save(fleet))
        if self.watch is not None:
            lately = warm.panel(slice(None), slots_looked_at(fleet.step_s))
            self._try(f"watch_{resource.value}", partial(self.watch.see, lately, fleet, said.raw))
        if self._profiler.due(resource, end_s):
            look = partial(self._profile, resource, fleet.ids, end_s)
            self._try(f"profiles_{resource.value}", look)

    def _profile(self, resource: Resource, vms: Sequence[str], end_s: int) -> None:
        start_s = self._profiler.span_s(end_s, self._settings.slot_s)
        pieces = (vms[i : i + PROFILE_VMS] for i in range(0, len(vms), PROFILE_VMS))
        panels = (self._source.panel(resource, start_s, end_s, some) for some in pieces)
        self._profiler.learn(
            resource, (dataclasses.replace(panel, calendar=self._calendar) for panel in panels)
        )

    def _show(self, fleet: FleetDemand) -> None:
        self._latest[fleet.resource] = Latest.of(fleet)

    def _line(self, resource: Resource) -> Sequence[str]:
        line = self._try("registry", lambda: self.registry.line(resource)) or ()
        for model_id in set(self._trouble) - {f"model_{each}" for each in line}:
            if model_id.startswith(f"model_{resource.value}-"):
                del self._trouble[model_id]  # it serves no longer, so its damage is nobody's
        return line

    def _tidy(self, end_s: int) -> None:
        assert self.history is not None
        keep_from_s = int(self._clock.wall_s() - self._settings.retention_days * DAY_S)
        self.history.tidy(int(end_s - TIDY_AFTER_S), keep_from_s)

    def _try(self, what: str, do: Callable[[], T]) -> T | None:
        """None when it failed; the first failure in a row is an event, the rest are counted."""
        try:
            result = do()
        except EvenkeelError as error:
            self._fail(what, error.code, error.message)
        except Exception as error:  # a forecaster's bug costs its forecast, never the service
            self._fail(what, "internal", f"{type(error).__name__}: {error}")
        else:
            if self._trouble.pop(what, None) is not None:
                self._tell("forecast_recovered", f"{what} works again", Severity.INFO, what, "")
            return result
        return None

    def _fail(self, what: str, code: str, message: str) -> None:
        self.figures.counts[f"failed_{what.partition('_')[0]}"] += 1
        first = what not in self._trouble
        self._trouble[what] = message[:300]
        if first:
            self._tell("forecast_failed", message[:300], Severity.WARNING, what, code)

    def _tell(self, kind: str, message: str, severity: Severity, what: str, code: str) -> None:
        event = Event(
            self._clock.wall_s(), kind, message, severity, detail={"what": what, "code": code}
        )
        try:
            with self._store.write() as session:
                session.chronicle.add_events([event])
        except EvenkeelError:
            self.figures.counts["events_lost"] += 1


def _targets(settings: ForecastConfig) -> Targets:
    """Whole slots, at least one, none twice; and those that agents go by."""

    def slots(spans_s: tuple[float, ...]) -> set[int]:
        return {max(1, round(span / settings.slot_s)) for span in spans_s}

    near = range(1, n_near_slots(settings.slot_s, settings.grace_s) + 1)
    horizons = slots(settings.horizons_s) | set(near)
    return Targets(tuple(sorted(horizons)), tuple(sorted(slots(settings.windows_s))))
