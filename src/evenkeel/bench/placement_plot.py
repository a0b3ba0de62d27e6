"""Cost of a decision against the size of the fleet."""

from __future__ import annotations

from pathlib import Path

from evenkeel.bench.pictures import figure_class
from evenkeel.domain.errors import InvalidRequest
from evenkeel.envelope import Result


def plot_growth(result: Result, path: Path) -> None:
    """Raises ConfigInvalid without matplotlib, InvalidRequest without `--growth`."""
    rows = result.detail.get("by_hosts")
    if not rows:
        raise InvalidRequest("nothing was measured against fleet size", hint="Use --growth.")
    hosts = [int(n) for n in rows]
    figure = figure_class()(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, label in (
        ("decide_us", "aware of contention"),
        ("decide_p99_us", "aware, 99th percentile"),
        ("blind_decide_us", "blind"),
    ):
        axes.plot(hosts, [row[name] for row in rows.values()], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="hosts", ylabel="CPU microseconds a decision")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)
