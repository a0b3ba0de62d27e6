"""`evenkeel lab matrix`: who slows whom by how much, measured on real guests."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenkeel.cli.bench import JsonOut, show
from evenkeel.cli.output import err, friendly_errors
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.lab.config import LabConfig, default_number
from evenkeel.lab.lab import Lab
from evenkeel.lab.matrix_plan import plan
from evenkeel.lab.peer import Peer


@friendly_errors
def matrix(
    csv: Annotated[Path, typer.Option(help="Write the table of co-runs to this file.")],
    seconds: Annotated[float, typer.Option(min=3, help="How long each cell is measured.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Decides the order of the cells.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="How often each co-run is measured.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Four workloads, two minutes.")] = False,
    cpu: Annotated[int, typer.Option(help="The one CPU of the host that all guests share.")] = 1,
    lab: Annotated[
        int | None,
        typer.Option("--lab", help="Number of the lab, 0-254 [default: $EVENKEEL_LAB or 0]."),
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Run every pair of workloads, and some triples, on one host; each against itself alone.

    Useful work is counted from outside, controls are interleaved, the lab outweighs whatever else
    the machine does. A run that was killed goes on where it stopped: what was measured stands
    beside the table, in FILE.cells.

    Example: evenkeel lab matrix --seconds 6 --seed 1 --csv corun_lab.csv --json corun_lab.json
    """
    from evenkeel.lab.matrix_run import away_from, run  # libvirt need not be here until now
    from evenkeel.lab.matrix_table import result, table

    began_s = time.monotonic()
    number = default_number(dict(os.environ)) if lab is None else lab
    cells = plan(seed, quick, repeats)
    here = Lab(LabConfig(number=number, n_hosts=1, cpus_per_host=((cpu,),)))
    if here.hosts and [h.cpus for h in here.hosts] != [(cpu,)]:
        raise ConfigInvalid(
            f"lab {number} is up and is not one host with CPU {cpu} alone",
            hint="Take it down with `evenkeel lab down`, or choose another with --lab.",
        )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        task = progress.add_task("starting the lab", total=len(cells))
        with here, away_from((cpu,)), Peer(here.names.outside_address):
            done = run(
                here,
                cells,
                seconds,
                csv.with_name(csv.name + ".cells"),
                lambda text: progress.update(task, description=text.ljust(40)),
                lambda n, _: progress.update(task, completed=n),
            )
    found = table(done)
    csv.write_text(found.csv(), encoding="utf-8")
    show(result(found, done, seconds, seed, time.monotonic() - began_s), json_out)
