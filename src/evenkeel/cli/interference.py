"""`evenkeel interference evaluate`: how well are slowdowns foreseen, on measured co-runs?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from evenkeel.cli.bench import JsonOut
from evenkeel.cli.lists import lists_of_words
from evenkeel.cli.output import err, friendly_errors, out

if TYPE_CHECKING:
    from evenkeel.bench.interference import Outcome

interference_app = typer.Typer(no_args_is_help=True, help="Who will hurt whom, and how badly.")

_COLUMNS = {
    "MAE": ("mae", 3),
    "MAE\nlog": ("mae.log", 3),
    "points\nof loss": ("mae.loss", 2),
    "bias": ("bias.loss", 2),
    "AUC\n>10 %": ("auc.loss10", 3),
    "false\nalarms": ("false_alarms", 3),
    "first\nright": ("culprit_first", 3),
    "worst\nbin": ("calibration.worst", 2),
}
"""Heading -> metric, and its decimals."""


@interference_app.command(cls=lists_of_words("--train", "--test"))
@friendly_errors
def evaluate(
    format_: Annotated[str, typer.Option("--format", help="Layout: fairco2, ntua or lab.")],
    train: Annotated[list[Path], typer.Option(help="Learn from these: CSV, CSV.gz or Parquet.")],
    test: Annotated[list[Path], typer.Option(help="Predict these; the same files: in folds.")],
    split: Annotated[
        str,
        typer.Option(help="Not seen in training: unseen-workload, unseen-pair, unseen-campaign."),
    ],
    folds: Annotated[
        int, typer.Option(min=0, help="Groups of pairs or campaigns; 0: each by itself.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    json_out: JsonOut = None,
) -> None:
    """Slowdowns predicted before a co-run against what was measured, each model beside the others.

    With the same files as --train and --test, each workload (or group of pairs, or of campaigns) is
    left out in turn: a workload as victim and as partner. Otherwise models learn from --train, and
    what of --test they have not seen is tested. Settings are chosen on training rows alone.

    fairco2: a row a direction of a pair: victim, partner, slowdown, victim_solo_*, partner_solo_*.
    ntua: a row a test of nginx: campaign, Replicas, Given_RPS, pods_*, base_*_ms, slowdown_p99,
    is_baseline, Core0..7_C0res_mean, Core0..7_IPC_mean. It is judged on the log of slowdown.
    lab: what `evenkeel lab matrix` writes; triples tell who is named first.

    Example: evenkeel interference evaluate --format fairco2 --train pairs.csv.gz
    --test pairs.csv.gz --split unseen-workload --json pairs.json
    """
    from evenkeel.bench.interference import Question
    from evenkeel.bench.interference import evaluate as judge

    question = Question(format_, tuple(train), tuple(test), split, folds, seed)
    with err.status("reading") as status:
        outcome = judge(
            question, lambda name, done, n: status.update(f"{name} {done}/{n}" if n else name)
        )
    result = outcome.result()
    result.write(json_out)
    _show(outcome, result.metrics)
    if json_out:
        out.print(f"written to {json_out}", highlight=False)


def _show(outcome: Outcome, ours: dict[str, float]) -> None:
    table = Table(
        title=f"{outcome.asked.n} co-runs, {outcome.question.split}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", no_wrap=True)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right")
    best = outcome.best(outcome.baselines, outcome.headline)
    for name, found in outcome.metrics.items():
        cells = [f"{found[m]:.{digits}f}" if m in found else "" for m, digits in _COLUMNS.values()]
        style = "bold" if name == outcome.ours else "green" if name == best else ""
        table.add_row(name, *cells, style=style)
    out.print(table)
    bins = Table(
        title=f"Do scores of {outcome.ours} come true?", title_justify="left", box=SIMPLE_HEAD
    )
    for heading in ("score", "co-runs", "said", "came", "standard error"):
        bins.add_column(heading, justify="right")
    for b in outcome.bins():
        error = "" if b.error is None else f"{b.error:.1f}"
        score = f"{b.low:.0f}-{b.high:.0f}"
        bins.add_row(score, str(b.n), f"{b.predicted:.1f}", f"{b.measured:.1f}", error)
    out.print(bins)
    told = ", ".join(f"{name} {ours[name]:.3f}" for name in ours if name.startswith("ratio."))
    out.print(f"{outcome.ours} over the best baseline, below 1 is better: {told}", highlight=False)
    for note in outcome.notes:
        out.print(f"[dim]note:[/] {note}", highlight=False)
