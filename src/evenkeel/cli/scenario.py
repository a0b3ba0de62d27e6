"""`evenkeel lab scenario NAME`: real guests, a real collision, figures in the common envelope."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from evenkeel.cli.bench import JsonOut, show
from evenkeel.cli.output import err, friendly_errors
from evenkeel.domain.host import Mode
from evenkeel.envelope import Result
from evenkeel.lab import scenarios
from evenkeel.lab.config import LabConfig, default_number
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.lab import Lab

scenario_app = typer.Typer(
    no_args_is_help=True, help="Collisions (or none) on real guests, measured from outside."
)

Seed = Annotated[int, typer.Option(help="Who, when and where: the same seed, the same story.")]
Hosts = Annotated[int, typer.Option(min=1, max=4, help="Hosts in the lab.")]
TickS = Annotated[float, typer.Option(min=0.5, max=10, help="Seconds between observations.")]


@scenario_app.command("noisy-neighbour")
@friendly_errors
def noisy_neighbour(
    mode: Annotated[Mode, typer.Option(help="How far Evenkeel may go.")] = Mode.ACT,
    runs: Annotated[int, typer.Option(min=1, help="How many collisions to stage.")] = 5,
    seed: Seed = 1,
    hosts: Hosts = 2,
    tick_s: TickS = 1.0,
    json_out: JsonOut = None,
) -> None:
    """A VM turns noisy: is it named, how soon, is the work recovered, is all put back?

    Example: evenkeel lab scenario noisy-neighbour --mode act --runs 20 --seed 7 --json noisy.json
    """
    _stage(
        hosts,
        tick_s,
        json_out,
        lambda fleet, report: scenarios.noisy_neighbour(fleet, mode.value, runs, seed, report),
    )


@scenario_app.command()
@friendly_errors
def quiet(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long nothing happens.")] = 10.0,
    seed: Seed = 1,
    hosts: Hosts = 2,
    tick_s: TickS = 1.0,
    json_out: JsonOut = None,
) -> None:
    """Steady guests in act mode: every alarm is false, every action one too many.

    Example: evenkeel lab scenario quiet --minutes 10 --json quiet.json
    """
    _stage(
        hosts,
        tick_s,
        json_out,
        lambda fleet, report: scenarios.quiet(fleet, minutes, seed, report),
    )


@scenario_app.command()
@friendly_errors
def bursts(
    minutes: Annotated[float, typer.Option(min=4, help="How long bursts are watched.")] = 24.0,
    seed: Seed = 1,
    hosts: Hosts = 2,
    json_out: JsonOut = None,
) -> None:
    """Guests that burst by the clock or by events: does the score rise before the loss does?

    Days in fast motion (a slot is 5 s, a day 24 minutes). The controller learns the past of sixty
    such VMs first, which takes a few minutes.

    Example: evenkeel lab scenario bursts --minutes 24 --json bursts.json
    """
    from evenkeel.lab.bursts import TICK_S
    from evenkeel.lab.bursts import bursts as play

    with _own_lab(hosts) as lab, err.status("starting the fleet") as progress:
        fleet = Fleet(lab, tick_s=TICK_S)
        try:
            result = play(fleet, minutes, seed, progress.update)
        finally:
            fleet.stop()
    show(result, json_out)


def _stage(
    hosts: int,
    tick_s: float,
    json_out: Path | None,
    play: Callable[[Fleet, scenarios.Report], Result],
) -> None:
    with _own_lab(hosts) as lab, err.status("starting the fleet") as progress:
        fleet = Fleet(lab, tick_s=tick_s)
        try:
            fleet.start("observe", progress.update)

            def report(text: str) -> None:
                if "culprit" in text:
                    err.print(text, highlight=False)
                progress.update(text)

            result = play(fleet, report)
        finally:
            fleet.stop()
    show(result, json_out)


@contextmanager
def _own_lab(n_hosts: int) -> Iterator[Lab]:
    """A fresh lab for the length of a scenario; one that is up already is left alone."""
    number = default_number(dict(os.environ))
    with err.status("starting the lab") as progress:
        lab = Lab(LabConfig(number=number, n_hosts=n_hosts))
        already = lab.up(progress.update).already
    if already:
        raise typer.BadParameter(
            f"lab {number} is up: take it down first, or set EVENKEEL_LAB to another number"
        )
    try:
        yield lab
    finally:
        lab.down()
