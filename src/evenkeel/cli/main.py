"""The `evenkeel` command: a thin client of the API, the daemons, the lab and the benchmarks.

Each command group is a module with a typer app or a `register` function; heavy imports happen
inside the commands, so that `evenkeel --help` stays quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from evenkeel import __version__
from evenkeel.cli import doctor, fleet, forecast, maintenance, place, reliability, whatif
from evenkeel.cli.agent import agent
from evenkeel.cli.backtest import ListsOfWords, backtest
from evenkeel.cli.bench import bench_app
from evenkeel.cli.bench_placement import packing, placement
from evenkeel.cli.calendar import calendar
from evenkeel.cli.claim import claim_app
from evenkeel.cli.configuration import config
from evenkeel.cli.controller import controller
from evenkeel.cli.demo import demo
from evenkeel.cli.interference import interference_app
from evenkeel.cli.lab import lab_app
from evenkeel.cli.lab_matrix import matrix
from evenkeel.cli.plan import plan_app
from evenkeel.cli.record import record
from evenkeel.cli.scenario import scenario_app
from evenkeel.cli.simulate import ListsOfFiles, simulate
from evenkeel.cli.token import token_app
from evenkeel.cli.train import train

app = typer.Typer(
    name="evenkeel",
    help="Keep virtual machines on an even keel: who hurts whom, how badly, and what to do.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

fleet.register(app)
reliability.register(app)
whatif.register(app)
place.register(app)
maintenance.register(app)
forecast.register(app)
doctor.register(app)
lab_app.command()(matrix)
lab_app.add_typer(scenario_app, name="scenario")
app.add_typer(lab_app, name="lab")
bench_app.command()(placement)
bench_app.command()(packing)
app.add_typer(bench_app, name="bench")
app.command()(agent)
app.command()(controller)
app.command()(demo)
app.command()(config)
app.command(cls=ListsOfWords)(backtest)
app.command()(train)
app.command(cls=ListsOfFiles)(simulate)
app.command()(record)
app.add_typer(interference_app, name="interference")
app.add_typer(token_app, name="token")
app.add_typer(plan_app, name="plan", rich_help_panel="See the fleet")
app.add_typer(claim_app, name="claim", rich_help_panel="Reserve")
app.command(rich_help_panel="Reserve")(calendar)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"evenkeel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    """Keep virtual machines on an even keel."""


def main() -> None:
    app()
