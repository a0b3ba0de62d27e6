"""`evenkeel simulate`: a recorded fleet, under policies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from evenkeel.cli.bench import JsonOut, show
from evenkeel.cli.lists import lists_of_words
from evenkeel.cli.output import err, friendly_errors, out
from evenkeel.cli.simulate_parts import (
    Asked,
    Drawn,
    Told,
    cloudsim,
    must_be_writable,
    replayed,
    tell,
)
from evenkeel.domain.errors import SimulationInvalid


class Scenario(StrEnum):
    """What can be simulated."""

    REPLAY = "replay"
    CLOUDSIM_PLANETLAB = "cloudsim-planetlab"


class Format(StrEnum):
    """What a file holds; the names of `wiring.recordings.Form`, which is heavy to import."""

    PLANETLAB = "planetlab"
    BITBRAINS = "bitbrains"
    AZURE = "azure"
    RECORDING = "recording"


ListsOfFiles = lists_of_words("--input")
OF_CLOUDSIM: Final = frozenset({"order", "honour_ram", "plot"})
OF_REPLAY: Final = frozenset(
    {
        "form",
        "hosts",
        "host_kind",
        "overcommit",
        "begin",
        "hours",
        "vms",
        "share",
        "demand_from",
        "demand_format",
        "vm_size",
        "corun",
        "seed",
        "html",
    }
)
SIDE: Final = "Scenario replay"


@friendly_errors
def simulate(
    context: typer.Context,
    scenario: Annotated[Scenario, typer.Option(help="Which world.")],
    source: Annotated[
        list[Path], typer.Option("--input", help="File or folder; replay takes several of them.")
    ],
    day: Annotated[
        list[str] | None, typer.Option(help="Which day of PlanetLab's; replay joins several.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Who decides; replay takes several, with commas. Empty: all.")
    ] = "",
    order: Annotated[
        str, typer.Option(help="Of the VMs: name, or shuffle:SEED. It decides their sizes.")
    ] = "name",
    honour_ram: Annotated[
        bool,
        typer.Option("--honour-ram", help="Memory binds all day, not at the start alone."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture into this folder.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="What the files hold.", rich_help_panel=SIDE)
    ] = Format.RECORDING,
    hosts: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="How many; else as recorded, or enough.", rich_help_panel=SIDE
        ),
    ] = None,
    host_kind: Annotated[
        str | None,
        typer.Option(help="CPUSxGIB or CPUSxGIBxMBITxIOPS of each host.", rich_help_panel=SIDE),
    ] = None,
    overcommit: Annotated[
        float, typer.Option(help="vCPUs that are sold for each CPU.", rich_help_panel=SIDE)
    ] = 4.0,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="UTC; +6h: after the beginning.", rich_help_panel=SIDE),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="How long; else to the end.", rich_help_panel=SIDE)
    ] = None,
    vms: Annotated[
        int | None,
        typer.Option(min=1, help="Azure: so many, drawn by tenants' bursts.", rich_help_panel=SIDE),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Azure: this part of them, drawn as --vms is.", rich_help_panel=SIDE),
    ] = None,
    demand_from: Annotated[
        Path | None,
        typer.Option(help="Azure: whose demand VMs have; else made up.", rich_help_panel=SIDE),
    ] = None,
    demand_format: Annotated[
        Format, typer.Option(help="What --demand-from holds.", rich_help_panel=SIDE)
    ] = Format.RECORDING,
    vm_size: Annotated[
        str, typer.Option(help="PlanetLab: VCPUSxMIB of every VM.", rich_help_panel=SIDE)
    ] = "1x1024",
    corun: Annotated[
        Path | None,
        typer.Option(help="Pairs as measured (Fair-CO2's table).", rich_help_panel=SIDE),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides whatever is drawn or made up.", rich_help_panel=SIDE)
    ] = 1,
    json_out: JsonOut = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report into this file.", rich_help_panel=SIDE)
    ] = None,
) -> None:
    """What would have become of a recorded fleet under other policies, side by side.

    replay: demand of `evenkeel record`, PlanetLab, Bitbrains or Azure on hosts that share CPU,
    memory, disk and network, with what moves cost. Policies: stay, best-fit, balance, thr-mmt,
    evenkeel and evenkeel-moves (without agents on the hosts).

    cloudsim-planetlab: energy, moves and unserved demand by the rules of CloudSim 3.0.3: 800 hosts
    of two kinds, a day of PlanetLab VMs. Policies: npa (no power management), dvfs (nobody moves),
    thr-mmt, lr-mmt (CloudSim's own) and evenkeel.

    Azure's arrivals tell when VMs came, how large and for how long, and nothing of what they want:
    that is borrowed of the VMs in --demand-from, which is an assumption and said to be one.

    PlanetLab is Parquet with a list of 288 percents a VM and day, or the original: a folder a day
    with a text file of 288 lines a VM.

    Example: evenkeel simulate --scenario replay --input fleet.parquet --policy stay,evenkeel
    --html report.html

    Example: evenkeel simulate --scenario replay --input planetlab.parquet --format planetlab
    --day 20110303 --host-kind 16x128 --json replay.json

    Example: evenkeel simulate --scenario cloudsim-planetlab --input planetlab.parquet
    --day 20110303 --policy lr-mmt --json lr.json
    """
    is_replay = scenario is Scenario.REPLAY
    _none_of(OF_CLOUDSIM if is_replay else OF_REPLAY, context)
    must_be_writable(json_out, html)
    days = tuple(day or ())
    if not is_replay:
        with _bar("reading; the first run compiles") as told:
            outcome = cloudsim(source, days, order, policy, honour_ram, told)
        show(outcome.result(), json_out)
        if plot:
            from evenkeel.bench.cloudsim_plot import draw

            out.print(f"written to {draw(outcome, plot)}", highlight=False)
        return
    asked = Asked(
        tuple(source), form.value, days, policy, hosts, host_kind, overcommit, begin, hours
    )
    drawn = Drawn(vms, share, demand_from, demand_format.value)
    with _bar("reading; the first run compiles") as told:
        outcomes = replayed(asked, drawn, vm_size, corun, seed, told)
    tell(outcomes, json_out, html)


def _none_of(names: frozenset[str], context: typer.Context) -> None:
    """Raises SimulationInvalid for an option of the other scenario."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and given is not None and given.name == "COMMANDLINE":
            raise SimulationInvalid(
                f"{parameter.opts[0]} means nothing in this scenario",
                hint="Leave it out, or choose the other --scenario.",
            )


@contextmanager
def _bar(first: str) -> Iterator[Told]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task(first, total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
