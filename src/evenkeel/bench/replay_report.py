"""The report of a replay: one HTML file to read anywhere, and JSON in the envelope.

The page is the same to the byte for the same outcomes: it holds no time of day and no machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel import __version__
from evenkeel.adapters.disk.whole import write_whole
from evenkeel.bench import replay_svg as svg
from evenkeel.bench.replay_words import base_of, hours, metrics_of, number, rows_of, sentences
from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.recording import Recording
from evenkeel.envelope import Result
from evenkeel.sim.replay.run import Outcome

OURS: Final = "evenkeel"
"""Policies whose names begin so are ours, the others are baselines."""
N_WORST: Final = 10
YEAR_1990_S: Final = 631_152_000.0
PLOTS: Final = (
    ("hosts_on", "Hosts on", ""),
    ("watts", "Power", "kW"),
    ("lost_cores", "CPU work not done", "cores"),
    ("moves", "Moves of VMs so far", ""),
)
"""Column of `by_slot`, title, unit."""
LOSSES_PCT: Final = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0)
LEAST_LOSS_PCT: Final = 0.01
"""Where the scale of losses begins."""
NAME: Final = "replay.html"


def report(
    recording: Recording, outcomes: Sequence[Outcome], to: Path, seed: int | None = None
) -> Path:
    """Write the page to a file (`.html`), or as replay.html into a folder; returns its path.

    Raises ConfigInvalid without Jinja2, or where nothing can be written.
    """
    path = to if to.suffix.lower() in (".html", ".htm") else to / NAME
    page = html(recording, outcomes, seed)
    try:
        write_whole(path, lambda file: file.write(page.encode()))
    except OSError as error:
        raise ConfigInvalid(
            f"{path} cannot be written: {error}", hint="Is there room, and may you write there?"
        ) from error
    return path


def result(
    recording: Recording, outcomes: Sequence[Outcome], seconds: float, seed: int | None
) -> Result:
    """`metrics` are `policy.metric` of every policy; those that are not ours are baselines too."""
    found = {outcome.policy: metrics_of(outcome) for outcome in outcomes}
    return Result(
        name="simulate.replay",
        seconds=seconds,
        seed=seed,
        metrics={
            f"{policy}.{name}": value
            for policy, metrics in found.items()
            for name, value in metrics.items()
        },
        baselines={p: metrics for p, metrics in found.items() if not p.startswith(OURS)},
        detail={
            "source": recording.source,
            "start_s": recording.start_s,
            "slot_s": recording.slot_s,
            "n_slots": recording.n_slots,
            "n_vms": len(recording.vms.ids),
            "held_against": base_of(outcomes).policy,
            "notes": [{"policy": note["who"], "text": note["text"]} for note in _notes(outcomes)],
            "by_slot": {
                outcome.policy: {name: _listed(v) for name, v in outcome.by_slot.items()}
                for outcome in outcomes
            },
            "worst_vms": {o.policy: _worst(recording, o) for o in outcomes},
        },
    )


def html(recording: Recording, outcomes: Sequence[Outcome], seed: int | None) -> str:
    """The whole page. Raises ConfigInvalid without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ConfigInvalid(
            "the report needs Jinja2", hint="pip install 'evenkeel[controller]', or leave it out."
        ) from error
    assert outcomes, "a report is of at least one policy"
    env = Environment(
        loader=PackageLoader("evenkeel.bench"), autoescape=True, undefined=StrictUndefined
    )
    base, n_vms = base_of(outcomes), len(recording.vms.ids)
    losses = _losses(outcomes)
    if losses:
        losses["svg"] = Markup(losses["svg"])  # noqa: S704  made of numbers and escaped names
    loader = env.loader
    assert loader is not None
    return env.get_template("replay_report.html").render(
        source=recording.source,
        version=__version__,
        style=Markup(loader.get_source(env, "replay_report.css")[0]),  # noqa: S704  our own
        facts=_facts(recording),
        base=base.policy,
        n_vms=f"{n_vms:,}",
        policies=[
            {
                "name": outcome.policy,
                "colour": k % svg.N_COLOURS,
                "dash": svg.DASHES[k % len(svg.DASHES)],
                "is_base": outcome is base and len(outcomes) > 1,
                "story": sentences(outcome, base, n_vms),
                "worst": _shown(_worst(recording, outcome)),
            }
            for k, outcome in enumerate(outcomes)
        ],
        notes=_notes(outcomes),
        rows=rows_of(outcomes),
        plots=[{**plot, "svg": Markup(plot["svg"])} for plot in _plots(recording, outcomes)],  # noqa: S704
        losses=losses,
        footer=_footer(recording, seed),
    )


def _facts(recording: Recording) -> list[str]:
    span_h = recording.n_slots * recording.slot_s / 3600
    span = f"{span_h:g} hours" if span_h <= 72 else f"{span_h / 24:.3g} days"
    facts = [recording.source, f"{len(recording.vms.ids):,} VMs"]
    facts += [f"{len(recording.hosts):,} hosts"] if recording.hosts else []
    facts.append(span)
    if recording.start_s > YEAR_1990_S:
        facts.append(f"from {datetime.fromtimestamp(recording.start_s, UTC):%Y-%m-%d %H:%M} UTC")
    return facts


def _footer(recording: Recording, seed: int | None) -> list[str]:
    return [
        f"Evenkeel {__version__}",
        f"seed {seed}" if seed is not None else "no seed",
        recording.source,
        f"{recording.n_slots:,} slots of {recording.slot_s:g} s",
        "The same recording, seed and version give the same page.",
    ]


def _notes(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """What all policies share once, then what is said of one, or of some."""
    who: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in dict.fromkeys(outcome.notes):
            who.setdefault(note, []).append(outcome.policy)
    shared = [note for note, names in who.items() if len(names) == len(outcomes)]
    own = [note for note in who if note not in shared]
    return [{"who": "", "text": note} for note in shared] + [
        {"who": ", ".join(who[note]), "text": note} for note in own
    ]


def _plots(recording: Recording, outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """What there is of hosts, power, work not done and moves, over time."""
    span_s = recording.n_slots * recording.slot_s
    x = svg.elapsed(span_s)
    plots = []
    for name, title, unit in PLOTS:
        lines = []
        for k, outcome in enumerate(outcomes):
            if name in outcome.by_slot:
                y = _drawn(name, np.nan_to_num(outcome.by_slot[name]))
                ends = np.linspace(0.0, x.high, len(y) + 1)
                # A step lasts until the next one begins, the last one to the end.
                lines.append(svg.Line(outcome.policy, k, ends, np.append(y, y[-1])))
        if lines:
            y_axis = svg.linear(max(float(line.y.max()) for line in lines))
            says = f"{title} over time under {', '.join(line.name for line in lines)}"
            plots.append({"title": title, "unit": unit, "svg": svg.chart(lines, x, y_axis, says)})
    return plots


def _drawn(name: str, values: F64) -> F64:
    if name == "moves":
        return svg.thinned(np.cumsum(values), "last")
    return svg.thinned(values / 1000.0 if name == "watts" else values)


def _losses(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares of VMs that lost at least so much, as a chart and as counts; {} if not known."""
    found = [outcome.by_vm.get("loss_pct") for outcome in outcomes]
    if any(loss is None for loss in found):
        return {}
    losses = [np.nan_to_num(loss) for loss in found if loss is not None]
    grid = np.geomspace(LEAST_LOSS_PCT, 100.0, 161)
    low, high = float(np.log10(LEAST_LOSS_PCT)), 2.0
    marks = (0.01, 0.1, 1.0, 10.0, 100.0)
    ticks = tuple((float(np.log10(at)), f"{at:g} %") for at in marks)
    x = svg.Axis(low, high, ticks, "loss of a VM")
    lines = []
    for k, (outcome, loss) in enumerate(zip(outcomes, losses, strict=True)):
        below = np.searchsorted(np.sort(loss), grid)
        share = 100.0 * (1.0 - below / max(len(loss), 1))
        lines.append(svg.Line(outcome.policy, k, np.log10(grid), share))
    says = "Share of VMs by their loss, under each policy; the counts stand beside it"
    y = svg.linear(max(float(line.y.max()) for line in lines))
    return {
        "svg": svg.chart(lines, x, y, says),
        "rows": [
            {"over": f"{at:g} %", "counts": [f"{int((loss > at).sum()):,}" for loss in losses]}
            for at in LOSSES_PCT
        ],
    }


def _worst(recording: Recording, outcome: Outcome) -> list[dict[str, Any]]:
    """The VMs that lost most, at most ten, none that lost nothing."""
    loss = outcome.by_vm.get("loss_pct")
    if loss is None:
        return []
    loss = np.nan_to_num(loss)
    worst = np.lexsort((np.arange(len(loss)), -loss))[:N_WORST]
    return [
        {
            "id": recording.vms.ids[i],
            "kind": recording.vms.kind[i] or recording.vms.tenant[i],
            "loss_pct": float(loss[i]),
            **{
                name: float(np.nan_to_num(outcome.by_vm[name][i]))
                for name in ("contended_h", "here_h", "lost_core_h", "moves")
                if name in outcome.by_vm
            },
        }
        for i in worst.tolist()
        if loss[i] > 0
    ]


def _shown(worst: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "id": vm["id"],
            "kind": vm["kind"],
            "loss": number(vm["loss_pct"]),
            "contended": hours(vm.get("contended_h")),
            "here": hours(vm.get("here_h")),
            "undone": number(vm.get("lost_core_h")),
            "moves": number(vm.get("moves"), whole=True),
        }
        for vm in worst
    ]


def _listed(values: F64) -> list[float | None]:
    """Four digits that count, so that the file stays small; null: not known."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values.tolist()]
