"""The tables of `evenkeel backtest`: a row a model, the best baseline of a column marked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from evenkeel.bench.backtest import Outcome
from evenkeel.cli.output import err, out
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.forecast.base import QUANTILES

LEVELS_SHOWN = (0.9, 0.95, 0.99)


def show_outcome(outcome: Outcome) -> None:
    """Everything that was measured, but for the deciles and figures that only --json holds."""
    q, field = outcome.question, outcome.field
    out.print(
        f"[bold]{q.format} {q.resource.value}[/] "
        f"({SPECS[q.resource].unit if not _stands_in(q.format, q.resource) else 'KB/s for 1/s'}): "
        f"{len(field.ids)} VMs, {len(field.blocks)} origins, {field.n_rows} forecasts, "
        f"{field.is_active.mean():.0%} of active VMs, {field.is_unseen.mean():.0%} of unseen VMs",
        highlight=False,
    )
    if _stands_in(q.format, q.resource):
        err.print("[dim]note:[/] disk read + write KB/s stand in for operations", highlight=False)
    for name, n in outcome.material.flaws.items():
        err.print(f"[dim]note:[/] {n} samples: {name.replace('_', ' ')}", highlight=False)
    for note in outcome.notes:
        err.print(f"[dim]note:[/] {note}", highlight=False)

    groups = ["", "active."] + (["unseen."] if field.is_unseen.any() else [])
    for group in groups:
        _table(
            outcome,
            f"WQL, {group.rstrip('.') or 'all'} VMs (2 x pinball / demand, mean of the quantiles)",
            [f"{group}wql.{h}" for h in outcome.horizons],
        )
    for what, title in (
        ("mae", "MAE of the median"),
        ("over", "median above what came (share)"),
        ("under", "median below what came (share)"),
    ):
        _table(outcome, title, [f"{what}.{h}" for h in outcome.horizons], is_loss=what == "mae")
    for group in groups:
        names = [f"{group}coverage.{level:g}" for level in LEVELS_SHOWN]
        names += [f"{group}coverage_split.{level:g}" for level in LEVELS_SHOWN]
        _table(
            outcome,
            f"coverage P(y <= q), and with ties split: {group.rstrip('.') or 'all'} VMs",
            names,
            is_loss=False,
        )
    for h in outcome.horizons:
        _table(
            outcome,
            f"pinball of each quantile at {h} (2 x sum / demand)",
            [f"pinball.{level:g}.{h}" for level in QUANTILES],
        )
    _by_profile(outcome)
    _table(
        outcome,
        "WQL of a VM by itself (p95), odds of peaks (mean, worst decile gap), time and memory",
        [f"vm_p95.{h}" for h in outcome.horizons]
        + [f"peak.{what}.{w}" for w in outcome.windows for what in ("gap", "worst")]
        + ["seconds.fit", "seconds.predict", "rss_mib"],
    )
    _worst(outcome)


def _stands_in(format_: str, resource: Resource) -> bool:
    return format_ == "bitbrains" and resource is Resource.IOPS


def _table(outcome: Outcome, title: str, names: Sequence[str], is_loss: bool = True) -> None:
    names = [n for n in names if any(n in of for of in outcome.metrics.values())]
    if not names:
        return
    table = Table("model", title=title, title_justify="left")
    for name in names:
        table.add_column(_short(name, names), justify="right")
    for model in (*outcome.ours, *(m for m in outcome.opponents if m not in outcome.ours)):
        cells = []
        for name in names:
            value = outcome.metrics[model].get(name)
            best = outcome.best(name) if is_loss else None
            cell = "" if value is None else f"{value:.4g}"
            if value is not None and best:
                if best[0] == model and not name.startswith(("seconds", "rss")):
                    cell = f"[green]{cell} *[/]"
                elif model not in outcome.opponents and best[1] > 0 and "wql" in name:
                    cell += f" [dim]x{value / best[1]:.3f}[/]"
            cells.append(cell)
        table.add_row(f"[bold]{model}[/]" if model in outcome.ours else model, *cells)
    if is_loss:
        table.caption = "* best baseline; x: ratio to it"
    out.print(table)


def _short(name: str, names: Sequence[str]) -> str:
    """`name` without what all of them begin with."""
    if len({n.split(".")[0] for n in names}) > 1:
        return name.replace(".", " ", 1)
    return name.removeprefix("active.").removeprefix("unseen.").split(".", 1)[1]


def _by_profile(outcome: Outcome) -> None:
    labels = sorted(set(outcome.field.profile.tolist()) - {""})
    for label in labels:
        _table(outcome, f"WQL, {label}", [f"profile.{label}.wql.{h}" for h in outcome.horizons])
        names = [f"profile.{label}.coverage.{level:g}" for level in LEVELS_SHOWN]
        _table(outcome, f"coverage, {label}", names, is_loss=False)


def _worst(outcome: Outcome) -> None:
    lead = outcome.ours[0]
    table = Table(
        *outcome.horizons, title=f"the ten worst VMs of {lead}: WQL by itself", title_justify="left"
    )
    rows = [[f"{vm} {wql:.3g}" for vm, wql in tail.worst] for tail in outcome.tails[lead].values()]
    for i in range(max(map(len, rows), default=0)):
        table.add_row(*(row[i] if i < len(row) else "" for row in rows))
    out.print(table)
