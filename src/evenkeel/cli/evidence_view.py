"""The evidence of `evenkeel why`: witnesses, suspects, and what experiments found."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from evenkeel.cli import show
from evenkeel.cli.output import out

Json = dict[str, Any]
WITNESSES: Final = {
    "cpu": "run-queue delay",
    "memory": "memory reclaim",
    "net": "network drops",
    "iops": "disk wait",
    "inside": "the guest itself",
    "unexplained": "of that, explained by none (caches, memory bandwidth)",
}


def print_evidence(evidence: Json | None) -> None:
    """Nothing where the VM loses nothing worth the name."""
    if evidence is None:
        return
    seen = [
        f"{words} {show.percent(evidence['witnesses'][name])}"
        for name, words in WITNESSES.items()
        if evidence["witnesses"].get(name) is not None
    ]
    out.print(
        Text.assemble(
            ("evidence: ", "bold cyan"),
            f"{show.label(evidence['resource'])} loss {show.percent(evidence['measured_loss'])} "
            f"measured, {show.percent(evidence['predicted_loss'])} by physics",
        )
    )
    if seen:
        out.print(Text(f"  seen by {', '.join(seen)}", style="dim"), soft_wrap=True)
    right = ("part of the loss", "culprit", "loss without it")
    table = show.grid("suspect", *right, right=right)
    for one in evidence["suspects"]:
        table.add_row(
            show.clean(one["name"]),
            show.percent(one["attributed_loss"]),
            show.percent(one["probability"]),
            show.percent(one["loss_without"]),
        )
    out.print(table)
    for found in evidence["findings"]:
        out.print(_finding(found), soft_wrap=True)


def _finding(found: Json) -> Text:
    style = {"confirmed": "bold red", "cleared": "green"}.get(found["verdict"], "dim")
    text = Text.assemble(
        ("  probe of ", "dim"),
        show.clean(found["suspect_name"]),
        f" {show.ago(found['at_s'])}: ",
        (found["verdict"], style),
    )
    if found["loss_free"] is not None and found["loss_throttled"] is not None:
        text.append(
            f", loss {show.percent(found['loss_free'])} free, "
            f"{show.percent(found['loss_throttled'])} while it was throttled "
            f"({found['n_free']} and {found['n_throttled']} ticks)"
        )
    elif found["reason"]:
        text.append(f": {show.clean(found['reason']).plain}")
    return text
