"""What the routes work with; wiring puts it together."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from evenkeel.api.access import Gate
from evenkeel.api.reader import FleetReader, Principal
from evenkeel.controller.advising import AdviceService
from evenkeel.controller.claims import Claims
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.ingest import Ingest
from evenkeel.controller.maintenance import MaintenanceService
from evenkeel.controller.models import ModelService
from evenkeel.controller.modes import ModeService
from evenkeel.controller.placing import PlacementService
from evenkeel.controller.plans import Plans
from evenkeel.controller.recording import Recorder
from evenkeel.controller.standing import StandingFleet
from evenkeel.controller.tokens import TokenService
from evenkeel.controller.whatif import WhatIf
from evenkeel.domain.ids import VmId
from evenkeel.domain.vm import Vm
from evenkeel.ports import Clock
from evenkeel.ports_store import Store


@dataclass(frozen=True, slots=True)
class Services:
    store: Store
    clock: Clock
    reader: FleetReader
    ingest: Ingest
    modes: ModeService
    tokens: TokenService
    gate: Gate
    history_hours: float
    reliability_days: float
    max_body_bytes: int
    host_silent_s: float
    alarm_score: float
    claims: Claims
    claims_days: float
    forecasts: ForecastService | None = None
    models: ModelService | None = None
    whatif: WhatIf | None = None
    placements: PlacementService | None = None
    standing: StandingFleet | None = None
    plans: Plans | None = None
    advice: AdviceService | None = None
    maintenance: MaintenanceService | None = None
    recorder: Recorder | None = None


def vm_like(services: Services, who: Principal, like: str) -> Vm:
    """The VM of this id or name. Raises NotFound."""
    vm = VmId(services.reader.vm(who, like).id)
    with services.store.read() as session:
        return session.inventory.vms_by_id([vm])[vm].vm


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
