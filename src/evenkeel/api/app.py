"""The controller as an ASGI application; wiring calls `create_app`, uvicorn runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import anyio
import anyio.to_thread
import structlog
from fastapi import APIRouter, Depends, FastAPI, Request

from evenkeel import __version__
from evenkeel.api import (
    routes_agents,
    routes_claims,
    routes_control,
    routes_fleet,
    routes_forecast,
    routes_health,
    routes_maintenance,
    routes_placement,
    routes_plans,
    routes_recording,
    routes_session,
    routes_whatif,
)
from evenkeel.api.access import require_declared
from evenkeel.api.errors import install_error_handlers
from evenkeel.api.services import Services
from evenkeel.controller.reliability import prune_reliability
from evenkeel.controller.retention import prune_claims, prune_history
from evenkeel.domain.errors import EvenkeelError, InvalidRequest

PRUNE_EVERY_S: Final = 60.0
FORECAST_EVERY_S: Final = 2.0
"""How often it is looked whether a slot is complete."""
FORECAST_NICE: Final = 5
STOP_S: Final = 10.0
_log = structlog.get_logger("evenkeel.controller")

_DESCRIPTION = """Who hurts whom on a libvirt fleet, on which resource, how badly, how sure, on what
evidence, and what is done about it.

Send `Authorization: Bearer TOKEN`. Errors are `{"error": {"code", "message", "hint"}}`; codes never
change. Lists are pages: pass `next` back as `?cursor=`."""


def create_app(services: Services, pages: Sequence[APIRouter] = ()) -> FastAPI:
    """The API, and beside it the routers of the page. The app owns and closes the store.

    Raises RuntimeError when a route declares no roles (see `access.require_declared`).
    """
    app = FastAPI(
        title="Evenkeel",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # it would load scripts from elsewhere into our origin
        redoc_url=None,
        lifespan=_lifespan,
        dependencies=[Depends(_no_nul)],
    )
    app.state.services = services
    app.state.gate = services.gate
    app.state.ingest_limiter = anyio.CapacityLimiter(routes_agents.MAX_WAITING)
    install_error_handlers(app)
    for module in (  # those asked most often first: they are tried one after another
        routes_placement,
        routes_agents,
        routes_fleet,
        routes_forecast,
        routes_control,
        routes_session,
        routes_whatif,
        routes_plans,
        routes_maintenance,
        routes_claims,
        routes_recording,
        routes_health,
    ):
        app.include_router(module.router)
    for page in pages:
        app.include_router(page)
    require_declared(app.routes)
    return app


async def _no_nul(request: Request) -> None:
    """No name holds a NUL, and PostgreSQL would choke on one."""
    if "\x00" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise InvalidRequest("the URL holds a NUL character")


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    pruning = asyncio.create_task(_prune_for_ever(services))
    stop_forecasts = _start_forecasts(services)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(services.claims.close)
        await anyio.to_thread.run_sync(stop_forecasts)
        pruning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pruning
        services.store.close()


async def _prune_for_ever(services: Services) -> None:
    while True:
        try:
            n = await anyio.to_thread.run_sync(
                prune_history, services.store, services.clock, services.history_hours
            )
            if n:
                _log.info("history_pruned", n_batches=n)
            await anyio.to_thread.run_sync(
                prune_reliability, services.store, services.clock, services.reliability_days
            )
            await anyio.to_thread.run_sync(
                prune_claims, services.store, services.clock, services.claims_days
            )
        except EvenkeelError as error:
            _log.warning("prune_failed", code=error.code, reason=error.message)
        except Exception:
            _log.exception("prune_crashed")
        await asyncio.sleep(PRUNE_EVERY_S)


def _start_forecasts(services: Services) -> Callable[[], None]:
    """A thread of its own, of lower priority; answers what ends it."""
    forecasts, stop = services.forecasts, threading.Event()
    if forecasts is None:
        return stop.set

    def work() -> None:
        with contextlib.suppress(OSError, AttributeError):
            # On Linux a thread has a priority of its own: batches go first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FORECAST_NICE)
        while not stop.is_set():
            try:
                if forecasts.run():
                    _log.info("forecast_made", seconds=round(forecasts.figures.seconds, 3))
            except Exception:
                _log.exception("forecast_crashed")
            stop.wait(FORECAST_EVERY_S)

    def end() -> None:
        stop.set()
        thread.join(STOP_S)
        forecasts.close()

    thread = threading.Thread(target=work, name="forecasts", daemon=True)
    thread.start()
    return end
