"""For whoever watches the controller: GET /healthz (anybody) and /metrics (an admin's token)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from evenkeel import __version__
from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas import ErrorBody
from evenkeel.api.services import Services, services_of
from evenkeel.controller.watch import Watch
from evenkeel.domain.errors import ModelsUnavailable, StoreUnavailable
from evenkeel.domain.model import ModelState

router = APIRouter(tags=["health"])

Wired = Annotated[Services, Depends(services_of)]


@router.get(
    "/healthz",
    summary="Alive, and the database answers",
    responses={503: {"model": ErrorBody, "description": "The database does not serve."}},
)
def healthz(services: Wired) -> dict[str, str]:
    with services.store.read() as session:
        session.access.modes()
    return {"status": "ok", "version": __version__}


@router.get(
    "/metrics",
    summary="The controller's own figures for Prometheus",
    response_class=PlainTextResponse,
    responses=ERROR_RESPONSES,
)
def metrics(
    request: Request, services: Wired, who: Annotated[Principal, Depends(ADMIN)]
) -> PlainTextResponse:
    """Give Prometheus an admin token of its own (`authorization: credentials_file`)."""
    lines = _counters(services) + _gauges(services) + _forecasts(services)
    return PlainTextResponse(
        "\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _counters(services: Services) -> list[str]:
    name = "evenkeel_controller_batches_total"
    lines = [
        f"# HELP {name} Batches from agents since start, by what became of them.",
        f"# TYPE {name} counter",
    ]
    counts = dict(services.ingest.counts)
    n_commits = counts.pop("commits", 0)
    results = {"accepted": 0, "duplicate": 0} | counts
    lines += [f'{name}{{result="{result}"}} {n}' for result, n in sorted(results.items())]
    return lines + _metric(
        "commits_total", "counter", "Transactions that stored batches since start.", n_commits
    )


def _gauges(services: Services) -> list[str]:
    try:
        with services.store.read() as session:
            alive_since_s = services.clock.wall_s() - services.host_silent_s
            fleet = session.inventory.summary(None, alive_since_s, services.alarm_score)
    except StoreUnavailable:
        return _metric("store_up", "gauge", "Whether the database serves.", 0)
    lines = _metric("store_up", "gauge", "Whether the database serves.", 1)
    for name, text, value in (
        ("hosts", "Hosts known.", fleet.n_hosts),
        ("hosts_alive", "Hosts heard from lately.", fleet.n_hosts_alive),
        ("vms", "VMs in the fleet.", fleet.n_vms),
        ("pairs_above_threshold", "Pairs that alarm now.", fleet.n_pairs_above_threshold),
        ("open_mitigations", "Mitigations in place.", fleet.n_open_mitigations),
    ):
        lines += _metric(name, "gauge", text, value)
    return lines


def _metric(name: str, kind: str, text: str, value: float) -> list[str]:
    full = f"evenkeel_controller_{name}"
    return [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {value}"]


def _forecasts(services: Services) -> list[str]:
    forecasts = services.forecasts
    if forecasts is None:
        return []
    latest, figures = forecasts.latest(), forecasts.figures
    lines = _family("seconds", "gauge", "What the latest pass took.", [("", figures.seconds)])
    ages = [(f'{{resource="{r.value}"}}', forecasts.age_s(r) or 0.0) for r in latest]
    lines += _family("age_seconds", "gauge", "Since the newest telemetry behind it.", ages)
    sizes = [(f'{{resource="{r.value}"}}', len(fleet.ids)) for r, fleet in latest.items()]
    lines += _family("vms", "gauge", "VMs that are forecast.", sizes)
    serving = [
        (f'{{resource="{r.value}",model="{fleet.model}"}}', 1) for r, fleet in latest.items()
    ]
    lines += _family("model_info", "gauge", "Which model made the latest forecast.", serving)
    try:
        states = Counter(record.state.value for record in forecasts.registry.models())
        known = [(f'{{state="{state.value}"}}', states[state.value]) for state in ModelState]
        lines += _family("models", "gauge", "Models kept, by state.", known)
    except ModelsUnavailable:
        pass  # the service's own trouble says so
    if forecasts.watch is not None:
        lines += _watched(forecasts.watch)
    results = {"passes": 0} | dict(figures.counts)
    return lines + _family(
        "results_total",
        "counter",
        "Passes, and what failed in them.",
        [(f'{{result="{name}"}}', n) for name, n in sorted(results.items())],
    )


def _watched(watch: Watch) -> list[str]:
    deviating = [(f'{{resource="{r.value}"}}', n) for r, n in watch.deviations.counts().items()]
    lines = _family("deviating_vms", "gauge", "VMs that are not as forecast.", deviating)
    verdicts = {r: v for r, v in watch.drift.verdicts().items() if math.isfinite(v.loss_ratio)}
    ratios = [(f'{{resource="{r.value}"}}', round(v.loss_ratio, 4)) for r, v in verdicts.items()]
    lines += _family("loss_ratio", "gauge", "Loss of the model lately by its validation's.", ratios)
    drifted = [(f'{{resource="{r.value}"}}', int(v.drifted)) for r, v in verdicts.items()]
    lines += _family("model_drifted", "gauge", "Whether the serving model has drifted.", drifted)
    ends = {"started": 0, "won": 0, "lost": 0, "failed": 0} | dict(watch.retrainer.counts)
    return lines + _family(
        "trainings_total",
        "counter",
        "Trainings by the controller since its start, and how they ended.",
        [(f'{{result="{name}"}}', n) for name, n in ends.items()],
    )


def _family(name: str, kind: str, text: str, values: Sequence[tuple[str, float]]) -> list[str]:
    full = f"evenkeel_forecast_{name}"
    return [f"# HELP {full} {text}", f"# TYPE {full} {kind}"] + [
        f"{full}{labels} {value}" for labels, value in values
    ]
