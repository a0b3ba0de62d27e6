"""`evenkeel bench placement`, `evenkeel bench packing`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evenkeel.cli.bench import JsonOut, show
from evenkeel.cli.output import err, friendly_errors, out

HTTP_VMS = 4_000
EXACT_HOSTS, EXACT_VMS = 1_000, 20


class Peer(StrEnum):
    OPENSTACK = "openstack-placement"


@friendly_errors
def placement(
    hosts: Annotated[int, typer.Option(min=10, help="How many hosts.")] = 10_000,
    vms: Annotated[int, typer.Option(min=100, help="How many VMs are placed.")] = 100_000,
    peer: Annotated[
        Peer | None, typer.Option(help="Place the same on it, beside ours (installs it).")
    ] = None,
    peer_vms: Annotated[int, typer.Option(min=10, help="So many of them on the peer.")] = 300,
    http: Annotated[bool, typer.Option(help="Ours over HTTP as well, as the peer is.")] = True,
    exact: Annotated[bool, typer.Option(help="The quick score against the model as well.")] = True,
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
    from evenkeel.bench.placement_exact import bench_exact
    from evenkeel.bench.placement_http import over_http
    from evenkeel.bench.placement_plot import plot_growth

    with err.status("starting") as progress:
        result = bench_placement(
            hosts,
            vms,
            seed,
            progress.update,
            peer=on_openstack(peer_vms, progress.update) if peer else None,
            http=(lambda those: over_http(hosts, seed, those[:HTTP_VMS], peer_vms))
            if http
            else None,
            growth=growth,
        )
        if exact:
            told = bench_exact(EXACT_HOSTS, EXACT_VMS, seed, progress.update)
            result.detail["against_the_model"] = told
    if plot is not None:
        plot_growth(result, plot)
        out.print(f"drawn to {plot}", highlight=False)
    show(result, json_out)


@friendly_errors
def packing(
    input_file: Annotated[
        Path, typer.Option("--input", help="Arrivals (Parquet; `ts`, `vcpus`, `life_lo_s` ...).")
    ],
    cpus: Annotated[float, typer.Option(min=1, help="CPUs of a host.")] = 32.0,
    vcpus: Annotated[float, typer.Option(min=1, help="vCPUs that are sold of it.")] = 64.0,
    gib: Annotated[float, typer.Option(min=1, help="Its memory (GiB).")] = 192.0,
    limit: Annotated[int, typer.Option(min=0, help="The first so many arrivals; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides how VMs behave.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Hosts that arrivals and departures take, and their contention: ours and the heuristics.

    Example: evenkeel bench packing --input azure_v1_vm_arrivals.parquet --json packing.json
    """
    from evenkeel.bench.packing import HostKind, bench_packing

    with err.status("starting") as progress:
        kind = HostKind(cpus, vcpus, gib)
        result = bench_packing(input_file, kind, limit, seed, progress.update)
    show(result, json_out)
