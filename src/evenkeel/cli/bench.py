"""`evenkeel bench NAME`: measurements with baselines from the same run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from evenkeel.cli.output import RayFlag, err, friendly_errors, out
from evenkeel.envelope import Result

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks, each beside its baselines.")

JsonOut = Annotated[
    Path | None, typer.Option("--json", help="Write the result to this file, as JSON.")
]


@bench_app.command()
@friendly_errors
def agent(
    domains: Annotated[int, typer.Option(min=1, max=250, help="Paused guests to watch.")] = 100,
    seconds: Annotated[float, typer.Option(min=10, help="How long to watch them.")] = 60.0,
    json_out: JsonOut = None,
) -> None:
    """CPU, memory and time of the agent with many domains, against asking for each by itself.

    Example: evenkeel bench agent --domains 100 --json agent.json
    """
    from evenkeel.bench.agent import bench_agent

    with err.status("starting the lab") as progress:
        result = bench_agent(domains, seconds, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def forecast(
    vms: Annotated[int, typer.Option(min=1, help="How many VMs, each with 4 resources.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Decides the demand that is made up.")] = 1,
    ray: RayFlag = "",
    json_out: JsonOut = None,
) -> None:
    """Time and memory to forecast a whole fleet at 3 horizons from a warm history.

    Example: evenkeel bench forecast --vms 10000
    """
    from evenkeel.bench.forecast import bench_forecast
    from evenkeel.forecast.workers import Threads
    from evenkeel.wiring.workers import open_workers

    here = Threads(len(os.sched_getaffinity(0)))
    with err.status("starting") as progress, open_workers(ray, here) as workers:
        result = bench_forecast(vms, seed, progress.update, workers)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def short(
    vms: Annotated[int, typer.Option(min=1, help="VMs on the host, each with 4 resources.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides the demand that is made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """What an agent's forecasts of the next minute cost a tick, and how good they are.

    Example: evenkeel bench short --vms 200 --json short.json
    """
    from evenkeel.bench.short import bench_short

    with err.status("starting") as progress:
        result = bench_short(vms, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def contention(
    hosts: Annotated[int, typer.Option(min=10, help="How many hosts.")] = 10_000,
    vms: Annotated[int, typer.Option(min=2, help="VMs on each, with 4 resources.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the fleet that is made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Time and memory to score all pairs of a fleet, and to ask about one VM on all its hosts.

    Example: evenkeel bench contention --hosts 1000
    """
    from evenkeel.bench.contention import bench_contention

    with err.status("starting") as progress:
        result = bench_contention(hosts, vms, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def deviations(
    hours: Annotated[float, typer.Option(min=1, help="Hours of 1760 pairs, per noise.")] = 40.0,
    seed: Annotated[int, typer.Option(help="Decides the losses that are made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """False alarms on pairs that behave as predicted, and how soon those that do not are told.

    Example: evenkeel bench deviations --hours 20 --json deviations.json
    """
    from evenkeel.bench.deviations import bench_deviations

    with err.status("starting") as progress:
        result = bench_deviations(hours, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def attribution(
    seeds: Annotated[int, typer.Option(min=1, help="Worlds of each kind of collision.")] = 40,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Is the right culprit named, and is a confidence of 80 % right four times out of five?

    Example: evenkeel bench attribution --seeds 60 --json attribution.json
    """
    from evenkeel.bench.attribution import bench_attribution

    with err.status("starting") as progress:
        result = bench_attribution(seeds, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def advice(
    hosts: Annotated[int, typer.Option(min=2, help="How many hosts.")] = 1000,
    vms: Annotated[int, typer.Option(min=1, help="VMs on all of them together.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Decides the fleet that is made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """What it costs the controller to look at a fleet's plan every few minutes.

    Example: evenkeel bench advice --hosts 1000 --vms 20000
    """
    from evenkeel.bench.advice import bench_advice

    with err.status("starting") as progress:
        result = bench_advice(hosts, vms, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def consolidate(
    hosts: Annotated[int, typer.Option(min=2, help="How many hosts.")] = 113,
    vms: Annotated[int, typer.Option(min=1, help="VMs on all of them together.")] = 15_769,
    seed: Annotated[int, typer.Option(help="Decides the fleet that is made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Which hosts could be emptied: time, moves and hosts, beside simpler ways and the floor.

    Example: evenkeel bench consolidate --hosts 113 --vms 15769 --json consolidate.json
    """
    from evenkeel.bench.consolidate import bench_consolidate

    with err.status("starting") as progress:
        result = bench_consolidate(hosts, vms, seed, progress.update)
    show(result, json_out)


@bench_app.command()
@friendly_errors
def claims(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long.")] = 5.0,
    clients: Annotated[int, typer.Option(min=1, help="How many claim at once.")] = 64,
    kills: Annotated[int, typer.Option(min=0, help="How often a controller is killed (-9).")] = 20,
    controllers: Annotated[
        int, typer.Option(min=1, max=8, help="How many controllers share the database.")
    ] = 1,
    database: Annotated[
        str, typer.Option(help="sqlite, postgresql (a server of its own), or an empty one's URL.")
    ] = "sqlite",
    seed: Annotated[
        int, typer.Option(help="Decides what is claimed, and when they are killed.")
    ] = 1,
    json_out: JsonOut = None,
) -> None:
    """Is a shard ever sold twice or an acknowledged claim lost, while controllers are killed?

    Example: evenkeel bench claims --minutes 5 --kills 20 --database postgresql
    """
    from evenkeel.bench.claims import bench_claims

    with err.status("starting") as progress:
        result = bench_claims(minutes, clients, kills, controllers, database, seed, progress.update)
    show(result, json_out)


@bench_app.command("in-place")
@friendly_errors
def in_place(
    seeds: Annotated[int, typer.Option(min=1, help="Fleets of four hosts each.")] = 3,
    slots: Annotated[int, typer.Option(min=1, help="Slots of five minutes.")] = 24,
    every_tick: Annotated[
        bool, typer.Option("--every-tick", help="Also without skipping what is settled.")
    ] = False,
    json_out: JsonOut = None,
) -> None:
    """What the agent does for, and to, the VMs of made-up hosts that are sold several times over.

    Example: evenkeel bench in-place --seeds 2 --slots 12
    """
    from evenkeel.bench.in_place import bench_in_place

    with err.status("starting") as progress:
        result = bench_in_place(seeds, slots, every_tick, progress.update)
    show(result, json_out)


def show(result: Result, json_out: Path | None) -> None:
    """A table of our metrics beside each baseline's, and the envelope where it was asked for."""
    result.write(json_out)
    table = Table("metric", "ours", *result.baselines, title=result.name)
    for name, value in result.metrics.items():
        others = [result.baselines[b].get(name) for b in result.baselines]
        table.add_row(name, f"{value:g}", *("" if v is None else f"{v:g}" for v in others))
    out.print(table)
    if json_out:
        out.print(f"written to {json_out}", highlight=False)
