"""The tables of `evenkeel backtest`: a row a model, the best baseline of a column in green."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from evenkeel.bench.backtest import Outcome
from evenkeel.cli.output import err, out
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.forecast.base import QUANTILES

LEVELS_SHOWN: Final = (0.9, 0.95, 0.99)
LOSSES: Final = frozenset({"wql", "pinball", "mae", "vm_p95", "gap", "worst"})


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

    horizons, windows = outcome.horizons, outcome.windows
    groups = ["", "active."]
    if field.is_unseen.any():
        groups += ["unseen.", "unseen.active."]
    for group in groups:
        _table(
            outcome,
            f"WQL (2 x pinball / demand, mean of the quantiles): {group.rstrip('.') or 'all'} VMs",
            {f"{h} ahead": f"{group}wql.{h}" for h in horizons},
        )
    for title, what in (
        ("MAE of the median", "mae"),
        ("share of targets below the median forecast", "over"),
        ("share of targets above the median forecast", "under"),
    ):
        _table(outcome, title, {f"{h} ahead": f"{what}.{h}" for h in horizons})
    for group in groups:
        _table(
            outcome,
            f"coverage P(y <= q), then with ties split: {group.rstrip('.') or 'all'} VMs",
            {f"\n{at:g}": f"{group}coverage.{at:g}" for at in LEVELS_SHOWN}
            | {f"split\n{at:g}": f"{group}coverage_split.{at:g}" for at in LEVELS_SHOWN},
        )
    for h in horizons:
        _table(
            outcome,
            f"pinball of each quantile, {h} ahead (2 x sum / demand)",
            {f"{level:g}": f"pinball.{level:g}.{h}" for level in QUANTILES},
        )
    _by_profile(outcome)
    _table(
        outcome,
        "odds of peaks: said less came, mean and worst decile",
        {f"{what}\n{w}": f"peak.{what}.{w}" for w in windows for what in ("gap", "worst")},
    )
    _table(
        outcome,
        "WQL of a VM by itself; time; memory of the process at most",
        {f"p95\n{h}": f"vm_p95.{h}" for h in horizons}
        | {"fit\ns": "seconds.fit", "predict\ns": "seconds.predict", "\nMiB": "rss_mib"},
    )
    _worst(outcome)


def _stands_in(format_: str, resource: Resource) -> bool:
    return format_ == "bitbrains" and resource is Resource.IOPS


def _table(outcome: Outcome, title: str, columns: Mapping[str, str]) -> None:
    """`columns`: heading -> metric. Losses have their best baseline in green, ours the ratio."""
    columns = {
        heading: name
        for heading, name in columns.items()
        if any(name in of for of in outcome.metrics.values())
    }
    if not columns:
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    lowest = {
        name: outcome.best(name)
        for name in columns.values()
        if any(part in LOSSES for part in name.split("."))
    }
    for model in (*outcome.ours, *(m for m in outcome.opponents if m not in outcome.ours)):
        row = [_cell(outcome, model, name, lowest.get(name)) for name in columns.values()]
        table.add_row(f"[bold]{model}[/]" if model in outcome.ours else model, *row)
    out.print(table)
    ratios = {
        heading: outcome.metrics[outcome.ours[0]][name] / best[1]
        for heading, name in columns.items()
        if "wql" in name
        and (best := lowest.get(name))
        and best[1] > 0
        and name in outcome.metrics[outcome.ours[0]]
    }
    if ratios:
        told = ", ".join(
            f"{' '.join(heading.split())} {ratio:.3f}" for heading, ratio in ratios.items()
        )
        out.print(f"{outcome.ours[0]} / best baseline: {told}\n", highlight=False)


def _cell(outcome: Outcome, model: str, name: str, best: tuple[str, float] | None) -> str:
    value = outcome.metrics[model].get(name)
    if value is None:
        return ""
    text = f"{value:.{3 if 'pinball' in name else 4}f}" if value < 10 else f"{value:.4g}"
    return f"[green]{text}[/]" if best and best[0] == model else text


def _by_profile(outcome: Outcome) -> None:
    for label in sorted(set(outcome.field.profile.tolist()) - {""}):
        _table(
            outcome,
            f"{label} VMs: WQL and coverage",
            {h: f"profile.{label}.wql.{h}" for h in outcome.horizons}
            | {f"{at:g}": f"profile.{label}.coverage.{at:g}" for at in LEVELS_SHOWN},
        )


def _worst(outcome: Outcome) -> None:
    lead = outcome.ours[0]
    out.print(f"the ten worst VMs of {lead}, WQL by itself", style="italic", highlight=False)
    for horizon, tail in outcome.tails[lead].items():
        told = ", ".join(f"{vm.strip()} {wql:.3g}" for vm, wql in tail.worst)
        out.print(f"{horizon}: {told or 'none'}", highlight=False)
