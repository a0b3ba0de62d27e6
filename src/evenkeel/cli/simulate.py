"""`evenkeel simulate`: a fleet on a recorded day, under a policy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evenkeel.cli.bench import JsonOut, show
from evenkeel.cli.output import err, friendly_errors, out


class Scenario(StrEnum):
    """What can be simulated."""

    CLOUDSIM_PLANETLAB = "cloudsim-planetlab"


class Policy(StrEnum):
    """Who decides; the names of `wiring.cloudsim.PolicyName`, which is heavy to import."""

    NPA = "npa"
    DVFS = "dvfs"
    THR_MMT = "thr-mmt"
    LR_MMT = "lr-mmt"
    EVENKEEL = "evenkeel"


@friendly_errors
def simulate(
    scenario: Annotated[Scenario, typer.Option(help="Which world.")],
    source: Annotated[
        Path,
        typer.Option("--input", help="Parquet (day, vm, cpu_pct), or a folder of text files."),
    ],
    day: Annotated[
        str | None, typer.Option(help="Which day of it; needed where it holds several.")
    ] = None,
    order: Annotated[
        str, typer.Option(help="Of the VMs: name, or shuffle:SEED. It decides their sizes.")
    ] = "name",
    policy: Annotated[Policy, typer.Option(help="Who decides where VMs are.")] = Policy.EVENKEEL,
    honour_ram: Annotated[
        bool,
        typer.Option("--honour-ram", help="Memory binds all day, not at the start alone."),
    ] = False,
    json_out: JsonOut = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture into this folder.")] = None,
) -> None:
    """Energy, moves and unserved demand of a day, by the rules of a known benchmark.

    cloudsim-planetlab: 800 hosts of two kinds and a day of PlanetLab VMs, as in CloudSim 3.0.3.
    Policies: npa (no power management), dvfs (nobody moves), thr-mmt, lr-mmt (CloudSim's own) and
    evenkeel. The input is Parquet with a list of 288 percents a VM and day, or the original: a
    folder a day with a text file of 288 lines a VM.

    Example: evenkeel simulate --scenario cloudsim-planetlab --input planetlab.parquet
    --day 20110303 --policy lr-mmt --json lr.json

    Example: evenkeel simulate --scenario cloudsim-planetlab --input days/20110303
    --order shuffle:1 --honour-ram
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from evenkeel.wiring.cloudsim import PolicyName, Question, run

    question = Question(source, day, order, PolicyName(policy.value), honour_ram)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("reading; the first run compiles", total=None)
        outcome = run(
            question,
            lambda done, of: bar.update(task, description="ticks", completed=done, total=of),
        )
    show(outcome.result(), json_out)
    if plot:
        from evenkeel.bench.cloudsim_plot import draw

        out.print(f"written to {draw(outcome, plot)}", highlight=False)
