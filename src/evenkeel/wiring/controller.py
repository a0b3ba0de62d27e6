"""Puts the controller together: database, secrets, services and the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fastapi import APIRouter, FastAPI

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.store.state_dir import StateDir
from evenkeel.adapters.store.store import SqlStore
from evenkeel.api.access import READERS, Gate
from evenkeel.api.app import create_app
from evenkeel.api.fleet import StoreReader
from evenkeel.api.routes_plans import AdviceOut, newest_advice
from evenkeel.api.services import Services
from evenkeel.config import ClaimsConfig, Config, ControllerConfig, PlansConfig
from evenkeel.controller.advising import AdviceService, Advising
from evenkeel.controller.claims import Claims
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.foreseen import Foreseen
from evenkeel.controller.ingest import Ingest
from evenkeel.controller.maintenance import MaintenanceService
from evenkeel.controller.modes import ModeService
from evenkeel.controller.outlook import LiveOutlook
from evenkeel.controller.placing import PlacementService
from evenkeel.controller.plans import Plans
from evenkeel.controller.present import Present
from evenkeel.controller.recording import Recorder
from evenkeel.controller.reserved import ByModel, ReservedNow
from evenkeel.controller.standing import StandingFleet
from evenkeel.controller.tokens import TokenService, new_secret
from evenkeel.controller.whatif import WhatIf
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.placement.fleet import Chance
from evenkeel.placement.keeping import Patience
from evenkeel.placement.problem import Limits
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.web.router import build_web
from evenkeel.wiring.forecasts import build_forecasts


def dashboard(services: Services) -> Sequence[APIRouter]:
    """The page, over the same reader as the REST API."""

    def advice() -> AdviceOut | None:
        return newest_advice(services)

    return [build_web(services.reader, READERS, services.clock.wall_s, advice)]


def build_controller(
    config: Config,
    pages: Callable[[Services], Sequence[APIRouter]] | None = None,
    config_file: Path | None = None,
) -> FastAPI:
    """The controller: opens (and migrates) its database, makes the first admin token.

    Parameters
    ----------
    config : `controller` and `policy` are read
    pages : makes the routers that stand beside the API, such as `dashboard`
    config_file : where `config` is from, for the trainings that the controller starts

    Raises
    ------
    ConfigInvalid, StoreTooNew, StoreUnavailable
    """
    settings = config.controller
    clock, state_dir = SystemClock(), StateDir(settings.state_dir)
    key = state_dir.key()
    store = SqlStore(settings.database_url)
    try:
        forecasts = build_forecasts(config.forecast, settings, store, clock, config_file)
        policy = config.policy.as_policy()
        services = assemble(
            store, clock, key, settings, policy, forecasts, config.claims, config.plans
        )
        if not services.tokens.has_admin():
            # The file comes first: a token that only the database knew would be lost for good.
            services.tokens.adopt_admin(state_dir.admin_token(new_secret()))
        return create_app(services, pages(services) if pages else ())
    except BaseException:
        store.close()
        raise


def assemble(
    store: Store,
    clock: Clock,
    key: bytes,
    settings: ControllerConfig,
    policy: Policy | None = None,
    forecasts: ForecastService | None = None,
    claims: ClaimsConfig | None = None,
    plans_config: PlansConfig | None = None,
) -> Services:
    """The services on any store and clock; `key` signs sessions and makes pseudonyms."""
    tokens = TokenService(store, clock)
    models = forecasts.watch.models if forecasts and forecasts.watch else None
    policy = policy or Policy()
    ingest = Ingest(
        store,
        clock,
        policy,
        models.for_agents if models else lambda: None,
        forecasts.near if forecasts else lambda _vms, _s: None,
    )
    latest = forecasts.told if forecasts else dict
    maintenance = MaintenanceService(store, clock)
    present = Present(store, clock, latest, settings.host_silent_s, maintenance.closed)
    whatif = WhatIf(present, ingest.contention_model.priors)
    claims, advised = claims or ClaimsConfig(), plans_config or PlansConfig()
    chance = Chance(claims.epsilon, np.full(N_RESOURCES, claims.correlation))
    desk = Claims(
        store,
        clock,
        chance,
        claims.max_days * 86_400,
        Foreseen(latest),
    )
    standing = StandingFleet(present, chance, ReservedNow(present))
    placements = PlacementService(
        standing, desk, clock, ByModel(whatif), standing.forget, claims.max_days * 86_400
    )
    plans = Plans(LiveOutlook(present, chance))
    return Services(
        store=store,
        clock=clock,
        reader=StoreReader(
            store, clock, key, settings.host_silent_s, policy.alarm_score, forecasts
        ),
        ingest=ingest,
        modes=ModeService(store, clock),
        tokens=tokens,
        gate=Gate(tokens, clock, key),
        history_hours=settings.history_hours,
        reliability_days=settings.reliability_days,
        max_body_bytes=int(settings.max_body_mib * 2**20),
        host_silent_s=settings.host_silent_s,
        alarm_score=policy.alarm_score,
        forecasts=forecasts,
        models=models,
        whatif=whatif,
        claims=desk,
        standing=standing,
        plans=plans,
        advice=AdviceService(plans, store, clock, _advising(advised)) if advised.enabled else None,
        placements=placements,
        maintenance=MaintenanceService(store, clock, placements.look_again),
        claims_days=claims.retention_days,
        recorder=Recorder(store, forecasts.history) if forecasts and forecasts.history else None,
    )


def _advising(config: PlansConfig) -> Advising:
    return Advising(
        every_s=config.every_s,
        limits=Limits(payback_h=config.payback_h, cooldown_s=3600.0),
        patience=Patience(cooldown_s=config.stands_s, more=config.more),
    )
