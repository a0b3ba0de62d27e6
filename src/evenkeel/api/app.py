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
ADVICE_FIRST_S: Final = 60.0
FORECAST_EVERY_S: Final = 2.0
"""How often it is looked whether a slot is complete."""
BACKGROUND_NICE: Final = 5
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
    stop_forecasts, stop_advice = _start_forecasts(services), _start_advice(services)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(services.claims.close)
        await anyio.to_thread.run_sync(stop_advice)
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
    """On a thread of its own; answers what ends it."""
    forecasts = services.forecasts
    if forecasts is None:
        return lambda: None

    def work() -> None:
        if forecasts.run():
            _log.info("forecast_made", seconds=round(forecasts.figures.seconds, 3))

    end_thread = _again_and_again("forecasts", work, FORECAST_EVERY_S)

    def end() -> None:
        end_thread()
        forecasts.close()

    return end


def _start_advice(services: Services) -> Callable[[], None]:
    """Likewise; the first look is when agents had time to report."""
    advice = services.advice
    if advice is None:
        return lambda: None

    def work() -> None:
        made = advice.look()
        if made is not None:
            _log.info("advice_looked", turn=made.turn.value, seconds=round(made.seconds, 3))

    every_s = advice.how.every_s
    return _again_and_again("advice", work, every_s, min(ADVICE_FIRST_S, every_s))


def _again_and_again(
    name: str, work: Callable[[], None], every_s: float, first_s: float = 0.0
) -> Callable[[], None]:
    """A thread of lower priority that works now and then; answers what ends it."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError, AttributeError):
            # On Linux a thread has a priority of its own: batches go first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICE)
        stop.wait(first_s)
        while not stop.is_set():
            try:
                work()
            except Exception:
                _log.exception(f"{name}_crashed")
            stop.wait(every_s)

    def end() -> None:
        stop.set()
        thread.join(STOP_S)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return end
