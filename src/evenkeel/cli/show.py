"""Tables and sentences for people: how the read commands render the API's JSON with rich."""

from __future__ import annotations

import time
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from evenkeel.domain.resources import SPECS, Resource

DASH: Final = "–"
UNKNOWN_AFTER_S: Final = 60.0
"""Longest tick there may be: a VM not heard of for longer is not known to be well."""
HEAT: Final = (
    (70.0, "bold white on #7a2406"),
    (40.0, "bold white on #c04f0c"),
    (20.0, "bold black on #f5963c"),
    (10.0, "black on #fdbf52"),
    (5.0, "black on #fee08a"),
    (1.0, "black on #fff4cf"),
)
"""The colours of the page's heat map."""

Json = dict[str, Any]


def clean(value: object) -> Text:
    """Somebody else's text: no markup, and no escape sequence may reach the terminal."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return Text(text)


def heat_style(score: float) -> str:
    return next((style for bound, style in HEAT if score >= bound), "dim")


def score(value: float) -> Text:
    return Text(f" {value:.0f} " if value >= 1 else f" {DASH} ", style=heat_style(value))


def percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"


def amount(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def ago(at_s: float | None) -> str:
    if at_s is None:
        return "never"
    seconds = max(0.0, time.time() - at_s)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def label(resource: str) -> str:
    return SPECS[Resource(resource)].label


def grid(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def mode(value: str) -> Text:
    return Text(value, style={"act": "bold cyan", "advise": "cyan"}.get(value, "dim"))


def host_state(host: Json) -> Text:
    if not host["alive"]:
        return Text(f"silent, heard {ago(host['last_seen_s'])}", style="bold red")
    if host["problem"]:
        return Text(host["problem"], style="yellow")
    return Text("alive", style="green")


def pair_sentence(pair: Json) -> Text:
    """`batch7 hurts web1 on CPU: score 36 (p 0.90, severity 40 %), confidence 0.90`."""
    return Text.assemble(
        (clean(pair["aggressor_name"]).plain, "bold"),
        " hurts ",
        (clean(pair["victim_name"]).plain, "bold"),
        f" on {label(pair['resource'])}: score ",
        score(pair["score"]),
        f" (p {pair['probability']:.2f}, severity {percent(pair['severity'])}), "
        f"confidence {pair['confidence']:.2f}",
    )


def deviation_sentence(one: Json) -> Text:
    """`not as predicted: batch7 costs web1 more CPU: 31 % measured, 5 % predicted, since ...`"""
    more = "more" if one["measured_loss"] > one["predicted_loss"] else "less"
    since = time.strftime("%H:%M", time.gmtime(one["since_s"]))
    return Text.assemble(
        ("not as predicted: ", "bold yellow"),
        (clean(one["aggressor_name"]).plain, "bold"),
        " costs ",
        (clean(one["victim_name"]).plain, "bold"),
        f" {more} {label(one['resource'])}: {percent(one['measured_loss'])} measured, "
        f"{percent(one['predicted_loss'])} predicted for the next {one['horizon_s']:.0f} s, "
        f"since {since}Z ({one['n_minutes']} min)",
    )


def predicted_table(deviations: list[Json]) -> Table:
    """The newest minute of each resource; older ones are in `--json`."""
    right = ("predicted", "measured")
    table = grid("loss", *right, "when", right=right)
    newest: dict[str, Json] = {}
    for one in deviations:
        newest.setdefault(one["resource"], one)
    for resource, one in newest.items():
        table.add_row(
            label(resource),
            percent(one["predicted_loss"]),
            percent(one["measured_loss"]),
            ago(one["at_s"]),
        )
    return table


def host_table(hosts: list[Json]) -> Table:
    right = ("worst", "VMs", "CPU want", "got", "PSI cpu", "fixes")
    table = grid("host", "state", "mode", *right, right=right)
    for host in hosts:
        known = host["alive"]
        table.add_row(
            clean(host["id"]),
            host_state(host),
            mode(host["mode"]),
            score(host["worst_score"]) if known else "?",
            str(host["n_vms"]),
            amount(host["cpu_demand_cores"]) if known else "?",
            amount(host["cpu_usage_cores"]) if known else "?",
            percent(host["psi_cpu_some"]) if known else "?",
            str(host["n_open_mitigations"]),
        )
    return table


def vm_table(vms: list[Json]) -> Table:
    right = ("worst", "CPU want", "got", "loss")
    labelled = any(vm.get("labels") for vm in vms)
    names = ("VM", "labels", "host") if labelled else ("VM", "host")
    table = grid(*names, "state", *right, "hurt by", "heard", right=right)
    for vm in vms:
        cpu: Json = next((r for r in vm["readings"] if r["resource"] == "cpu"), {})
        known = time.time() - vm["last_seen_s"] < UNKNOWN_AFTER_S
        table.add_row(
            clean(vm["name"]),
            *([clean(", ".join(vm.get("labels", [])))] if labelled else []),
            clean(vm["host"]),
            vm["state"] if known else Text("unknown", style="bold red"),
            score(vm["worst_score"]) if known else "?",
            amount(cpu.get("demand")) if known else "?",
            amount(cpu.get("usage")) if known else "?",
            percent(cpu.get("loss")) if known else "?",
            clean(vm["worst_aggressor_name"] or DASH) if known else "",
            ago(vm["last_seen_s"]),
        )
    return table


def reading_table(readings: list[Json]) -> Table:
    right = ("wanted", "got", "loss", "own limit")
    table = grid("resource", *right, right=right)
    for r in readings:
        unit = r["unit"]
        table.add_row(
            label(r["resource"]),
            f"{amount(r['demand'])} {unit}",
            f"{amount(r['usage'])} {unit}",
            percent(r["loss"]),
            percent(r["self_limited"]),
        )
    return table


def mitigation_table(mitigations: list[Json]) -> Table:
    right = ("before", "predicted", "measured")
    table = grid("when", "change", "on", "for", "because of", *right, "state", right=right)
    for m in mitigations:
        state = m["state"].replace("_", " ")
        table.add_row(
            ago(m["created_at_s"]),
            clean(f"{m['kind'].replace('_', ' ')}: {m['change']}"),
            clean(m["target_name"]),
            clean(m["victim_name"]),
            clean(m["aggressor_name"]),
            percent(m["loss_before"]),
            percent(m["predicted_loss"]),
            percent(m["measured_loss"]),
            clean(f"{state}: {m['state_reason']}" if m["state_reason"] else state),
        )
    return table


def event_line(event: Json) -> Text:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["at_s"]))
    style = {"warning": "yellow", "error": "bold red"}.get(event["severity"], "dim")
    where = f"  ({clean(event['host']).plain})" if event["host"] else ""
    return Text.assemble(
        (f"{at}Z ", "dim"),
        (f"{event['severity']:<8}", style),
        clean(event["message"]),
        (where, "dim"),
    )
