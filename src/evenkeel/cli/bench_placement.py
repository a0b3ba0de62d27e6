"""`evenkeel bench placement`, `evenkeel bench packing`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evenkeel.cli.bench import JsonOut, bench_app, show
from evenkeel.cli.output import err, friendly_errors, out


class Peer(StrEnum):
    OPENSTACK = "openstack-placement"


@bench_app.command()
@friendly_errors
def placement(
    hosts: Annotated[int, typer.Option(min=10, help="How many hosts.")] = 10_000,
    vms: Annotated[int, typer.Option(min=100, help="How many VMs are placed.")] = 100_000,
    peer: Annotated[
        Peer | None, typer.Option(help="Place the same on it, beside ours (installs it).")
    ] = None,
    peer_vms: Annotated[int, typer.Option(min=10, help="So many of them on the peer.")] = 300,
    growth: Annotated[bool, typer.Option(help="Decisions on 100 to 100,000 hosts as well.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Draw cost against fleet size (PNG).")] = None,
    seed: Annotated[int, typer.Option(help="Decides the fleet that is made up.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Durable placements a second, aware of contention and blind; cost against fleet size.

    Example: evenkeel bench placement --hosts 1000 --vms 20000 --peer openstack-placement
    """
    from evenkeel.bench.openstack import on_openstack
    from evenkeel.bench.placement import bench_placement
    from evenkeel.bench.placement_plot import plot_growth

    with err.status("starting") as progress:
        rival = on_openstack(peer_vms, progress.update) if peer else None
        result = bench_placement(hosts, vms, seed, progress.update, peer=rival, growth=growth)
    if plot is not None:
        plot_growth(result, plot)
        out.print(f"drawn to {plot}", highlight=False)
    show(result, json_out)
