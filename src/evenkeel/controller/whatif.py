"""Where would a VM fit? The whole fleet's contention ahead, and one more VM against every host.

Nothing is kept current for nobody: the fleet is laid out when somebody asks, from each host's
newest tick and the latest forecasts, and serves whoever asks within the next seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

import numpy as np

from evenkeel.controller.present import Present, forecast_ahead
from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.quantiles import N_QUANTILES, QUANTILES
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.candidate import Candidate, Standing, candidate, standing
from evenkeel.interference.fleet import FleetShape
from evenkeel.interference.fleet_rows import FLEET_ROWS, fleet_rows
from evenkeel.interference.hazards import Traits
from evenkeel.interference.kinds import Priors, expected
from evenkeel.interference.loads import cpu_weight, fluid_weight

REFRESH_S: Final = 5.0
_AWAY: Final = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])


@dataclass(frozen=True, slots=True)
class Asked:
    """A VM that does not exist yet: its size and what it would want (None: all that it may), with
    a standard `deviation`; or `like` a VM of the fleet, whose forecast it then has."""

    n_vcpus: int
    memory_mib: float
    tenant: TenantId
    wants: Mapping[Resource, float]
    like: Vm | None = None
    deviation: Mapping[Resource, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fit:
    """One host's answer, by resource where the host's capacity is known: the newcomer's score
    there, and by how much, in percent of what they want, the residents would lose more."""

    host: HostId
    n_vms: int
    score: Mapping[Resource, float]
    residents_score: Mapping[Resource, float]

    @property
    def worst(self) -> float:
        return max([*self.score.values(), *self.residents_score.values()], default=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Fleet:
    made_at_s: float
    hosts: tuple[tuple[Host, tuple[Vm, ...]], ...]
    standing: Standing | None


class WhatIf:
    """Thread-safe.

    Parameters
    ----------
    present : what is told of the fleet; hosts not heard from are left out
    priors : what is believed of the traits of kinds
    """

    def __init__(
        self,
        present: Present,
        priors: Callable[[], Priors],
    ) -> None:
        self._present = present
        self._priors = priors
        self._lock = threading.Lock()
        self._fleet: _Fleet | None = None

    def ask(self, asked: Asked) -> list[Fit]:
        """Every host that is heard from, best first. Raises InvalidRequest, StoreUnavailable."""
        if not 0 < asked.memory_mib < np.inf or any(
            not 0 <= amount < np.inf for amount in asked.wants.values()
        ):
            raise InvalidRequest("a VM has some memory, and wants nothing below 0")
        with self._lock:
            now_s = self._present.clock.monotonic_s()
            if self._fleet is None or now_s - self._fleet.made_at_s >= REFRESH_S:
                self._fleet = self._laid_out(now_s)
            fleet = self._fleet
        if fleet.standing is None:
            return []
        welcome = candidate(fleet.standing, self._candidate(asked))
        fits = [
            Fit(
                host.id,
                len(vms),
                _known(welcome.score[h]),
                _known(welcome.residents_score[h]),
            )
            for h, (host, vms) in enumerate(fleet.hosts)
        ]
        return sorted(fits, key=lambda fit: (round(fit.worst, 1), fit.host))

    def _candidate(self, asked: Asked) -> Candidate:
        vm = Vm(
            id=VmId("asked"),
            name="asked",
            n_vcpus=asked.n_vcpus,
            memory_mib=asked.memory_mib,
            tenant=asked.tenant,
            tuning=CpuTuning(vcpu_pins=()),
        )
        traits = expected([asked.like or vm], self._priors()).traits()
        quantiles = np.zeros((N_RESOURCES, N_QUANTILES))
        if asked.like is not None:
            quantiles[:] = self._forecast([asked.like])[0]
        all_it_may = {Resource.CPU: float(asked.n_vcpus), Resource.MEMORY: asked.memory_mib}
        for r, resource in enumerate(AXIS):
            if resource in asked.wants:
                spread = asked.deviation.get(resource, 0.0)
                quantiles[r] = np.maximum(asked.wants[resource] + spread * _AWAY, 0.0)
            elif np.isnan(quantiles[r]).any() or asked.like is None:
                quantiles[r] = all_it_may.get(resource, 0.0)
        at = (np.arange(FLEET_ROWS) + 0.5) / FLEET_ROWS
        demand = np.column_stack([np.interp(at, QUANTILES, row) for row in quantiles])
        weight = np.array(
            [
                cpu_weight([vm])[0] if resource is Resource.CPU else fluid_weight(resource, [vm])[0]
                for resource in AXIS
            ]
        )
        return Candidate(asked.n_vcpus, demand, weight, traits.sensitivity[0], traits.pressure[0])

    def _laid_out(self, now_s: float) -> _Fleet:
        seen = self._present.look(with_terms=False)
        heard = np.flatnonzero(seen.heard).tolist()
        rows = {h: np.flatnonzero(seen.host == h) for h in heard}
        hosts = tuple(
            (seen.records[h].host, tuple(seen.vms[i] for i in rows[h].tolist())) for h in heard
        )
        if not hosts:
            return _Fleet(now_s, (), None)
        shape = FleetShape.of(hosts)
        n = shape.n_places
        quantiles: F32 = np.zeros((shape.n_hosts, n, N_RESOURCES, N_QUANTILES), np.float32)
        ahead = forecast_ahead(seen.latest, seen.vms)
        ahead = np.where(np.isnan(ahead), seen.wants.astype(np.float32)[..., None], ahead)
        for place, h in enumerate(heard):
            quantiles[place, : len(rows[h])] = ahead[rows[h]]
        background = seen.background[heard].astype(np.float32)
        everybody = [vm for _, vms in hosts for vm in vms]
        n_vms = np.array([len(vms) for _, vms in hosts], dtype=np.intp)
        traits = _padded(expected(everybody, self._priors()).traits(), n_vms, n)
        return _Fleet(now_s, hosts, standing(shape, fleet_rows(quantiles, background), traits))

    def _forecast(self, vms: Sequence[Vm]) -> F32:
        """(N, R, Q) demand an hour ahead, NaN where it is not forecast."""
        return forecast_ahead(self._present.latest(), vms)


def _padded(traits: Traits, n_vms: Ints, n: int) -> Traits:
    """(sum of n_vms, R) traits as (H, n, R), 1 at empty places."""
    taken = np.arange(n) < n_vms[:, None]
    sensitivity, pressure = np.ones((2, len(n_vms), n, N_RESOURCES))
    sensitivity[taken], pressure[taken] = traits.sensitivity, traits.pressure
    return Traits(sensitivity, pressure)


def _known(row: F64) -> dict[Resource, float]:
    """(R,) by name, without those of which the host's capacity is not known."""
    return {r: round(float(x), 2) for r, x in zip(AXIS, row, strict=True) if not np.isnan(x)}
