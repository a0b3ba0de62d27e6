"""`evenkeel lab`: a fleet of real QEMU guests on this machine, to try and test with."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from evenkeel.cli.output import JsonFlag, err, friendly_errors, out, print_json
from evenkeel.lab.commands import environment
from evenkeel.lab.config import Accel, LabConfig, default_number, parse_cpus_per_host
from evenkeel.lab.lab import Lab
from evenkeel.lab.status import LabStatus

lab_app = typer.Typer(no_args_is_help=True, help="Real QEMU guests on hosts of their own, here.")

LabNumber = Annotated[
    int | None,
    typer.Option("--lab", help="Number of the lab, 0-254 [default: $EVENKEEL_LAB or 0]."),
]


def _number(given: int | None) -> int:
    return default_number(dict(os.environ)) if given is None else given


@lab_app.command()
@friendly_errors
def up(
    hosts: Annotated[int, typer.Option(help="Hosts, each with a libvirtd of its own.")] = 2,
    lab: LabNumber = None,
    guests: Annotated[int, typer.Option(help="Guests to boot on every host.")] = 0,
    cpus_per_host: Annotated[
        str, typer.Option(help="CPUs of each host: 0-1 for all alike, 0:1 one list a host.")
    ] = "",
    accel: Annotated[Accel, typer.Option(help="auto: KVM where it boots, else TCG.")] = Accel.AUTO,
    as_json: JsonFlag = False,
) -> None:
    """Start the lab; says what is there when it is up already."""
    config = LabConfig(
        number=_number(lab),
        n_hosts=hosts,
        cpus_per_host=parse_cpus_per_host(cpus_per_host),
        guests_per_host=guests,
        accel=accel,
    )
    with err.status("starting the lab") as progress:
        done = Lab(config).up(progress.update)
    if as_json:
        print_json(asdict(done))
        return
    out.print(
        f"lab {config.number} is up already; `evenkeel lab down` removes it"
        if done.already
        else f"lab {config.number} is up after {done.seconds:.1f} s",
        highlight=False,
    )
    _show(done.status)


@lab_app.command()
@friendly_errors
def down(lab: LabNumber = None, as_json: JsonFlag = False) -> None:
    """Stop the lab and remove everything of it; also what a crash left. Keeps the guest image."""
    number = _number(lab)
    with err.status("removing the lab") as progress:
        done = Lab(LabConfig(number=number)).down(progress.update)
    if as_json:
        print_json(asdict(done))
    elif done.processes or done.namespaces:
        out.print(
            f"lab {number} is down after {done.seconds:.1f} s: {done.processes} processes and "
            f"{done.namespaces} network namespaces removed",
            highlight=False,
        )
    else:
        out.print(f"there is no lab {number}", highlight=False)


@lab_app.command()
@friendly_errors
def status(lab: LabNumber = None, as_json: JsonFlag = False) -> None:
    """Show hosts and guests, as they are now."""
    found = Lab(LabConfig(number=_number(lab))).status()
    if as_json:
        print_json(asdict(found))
        return
    out.print(f"lab {found.number} is {found.state}", highlight=False)
    _show(found)


@lab_app.command(context_settings={"ignore_unknown_options": True})
@friendly_errors
def sh(
    host: Annotated[str, typer.Argument(help="A host's name, such as h1.")],
    command: Annotated[list[str], typer.Argument(help="What to run there.")],
    lab: LabNumber = None,
) -> None:
    """Run a command on a host: in its namespaces, on its CPUs, with its libvirt."""
    argv = Lab(LabConfig(number=_number(lab))).host_argv(host, command)
    os.execvpe(argv[0], argv, environment())  # noqa: S606  its signals and terminal are the command's


def _show(found: LabStatus) -> None:
    if not found.hosts:
        return
    table = Table("host", "libvirt", "cpus", "guest", "state", "http")
    for host in found.hosts:
        line = [host.name, f"{host.uri} ({host.libvirt})", ",".join(map(str, host.cpus))]
        if not host.guests:
            table.add_row(*line, "", "", "")
        for guest in host.guests:
            answer = f"http://{guest.address}/" + ("" if guest.answers else " (silent)")
            table.add_row(*line, guest.name, guest.state, answer)
            line = ["", "", ""]
    out.print(table)
