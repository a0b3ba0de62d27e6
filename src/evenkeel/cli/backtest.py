"""`evenkeel backtest`: how good are the forecasts, on traces you have?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from evenkeel.cli.bench import JsonOut
from evenkeel.cli.lists import lists_of_words
from evenkeel.cli.output import RayFlag, err, friendly_errors, out
from evenkeel.domain.resources import Resource

_LISTS = ("--train", "--test", "--models", "--horizons", "--windows", "--train-days", "--test-days")

HORIZONS = ["5m,30m,60m,24h"]
WINDOWS = ["30m,60m"]
NONE: list[str] = []
_FILES = "a file, a folder or a zip; several apart, with commas or with patterns"


ListsOfWords = lists_of_words(*_LISTS)


@friendly_errors
def backtest(
    format_: Annotated[
        str, typer.Option("--format", help="Layout of the traces: planetlab or bitbrains.")
    ],
    train: Annotated[list[str], typer.Option(help=f"Learn from these: {_FILES}.")],
    test: Annotated[list[str], typer.Option(help="Forecast these; the same forms.")],
    resource: Annotated[
        Resource,
        typer.Option(help="For iops, Bitbrains' read + write KB/s stand in: it has no counts."),
    ] = Resource.CPU,
    horizons: Annotated[list[str], typer.Option(help="How far ahead.")] = HORIZONS,
    windows: Annotated[
        list[str], typer.Option(help="Windows whose peaks are forecast, from the origin on.")
    ] = WINDOWS,
    models: Annotated[
        list[str],
        typer.Option(help="What to judge; the first one is 'ours' in --json. ets, theta are slow."),
    ] = NONE,
    train_days: Annotated[
        list[str], typer.Option(help="PlanetLab: only these days, as 20110403,20110409.")
    ] = NONE,
    test_days: Annotated[list[str], typer.Option(help="PlanetLab: only these days.")] = NONE,
    train_until: Annotated[
        str | None, typer.Option(help="Bitbrains: learn from what lies before this date (UTC).")
    ] = None,
    test_from: Annotated[
        str | None, typer.Option(help="Bitbrains: forecast from this date on (UTC).")
    ] = None,
    unseen: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of the VMs, by seed, kept out of training."),
    ] = 0.0,
    every: Annotated[
        str | None, typer.Option(help="Between origins [default: 30m planetlab, 35m bitbrains].")
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="Most history a model gets [default: 1d, 7d].")
    ] = None,
    warm_up: Annotated[
        str | None, typer.Option(help="History before the first origin [default: 12h, 1d].")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Test so many VMs only (a trace), for slow models; 0: all.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 1,
    time_zone: Annotated[str, typer.Option(help="Where the VMs are, for hours and days.")] = "UTC",
    ray: RayFlag = "",
    json_out: JsonOut = None,
    plot: Annotated[Path | None, typer.Option(help="Write pictures into this folder.")] = None,
) -> None:
    """Forecasts from rolling origins against what came, each model beside every baseline.

    At an origin a model sees what was known then, nothing later. Training must end before the test
    begins; where files hold both, split them by days or dates. A VM counts from its first known
    sample on, an unknown target never.

    PlanetLab: a folder a day with a text file a VM (288 lines of percent), a folder of such
    folders, one file, or Parquet (day, vm, cpu_pct). Bitbrains: a ;-separated CSV a VM, or Parquet.

    Bad samples (NaN, negative, above 1e12, VM off, no or impossible time) are not known, of two in
    one slot the later read counts; all are counted and told. Values above the capacity are kept.

    Example: evenkeel backtest --format planetlab --train days/201103* --test days/20110403

    Example: evenkeel backtest --format bitbrains --resource memory --train july.parquet
    august.parquet --test august.parquet --train-until 2013-08-16 --test-from 2013-08-16
    --unseen 0.2 --json memory.json --plot memory
    """
    from evenkeel.bench.backtest import backtest as judge
    from evenkeel.bench.backtest_data import Question, paths, words
    from evenkeel.cli.backtest_tables import show_outcome
    from evenkeel.wiring.workers import open_workers

    question = Question(
        format=format_,
        train=paths(train),
        test=paths(test),
        resource=resource,
        horizons=words(horizons),
        windows=words(windows),
        models=words(models),
        train_days=words(train_days),
        test_days=words(test_days),
        train_until=train_until,
        test_from=test_from,
        every=every,
        history=history,
        warm_up=warm_up,
        unseen=unseen,
        sample=sample,
        seed=seed,
        time_zone=time_zone,
    )
    with _progress() as on_step, open_workers(ray) as workers:
        outcome = judge(question, on_step, workers=workers)
    outcome.result().write(json_out)
    show_outcome(outcome)
    if json_out:
        out.print(f"written to {json_out}", highlight=False)
    if plot:
        from evenkeel.bench.backtest_plots import draw

        for path in draw(outcome, plot):
            out.print(f"written to {path}", highlight=False)


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda name, done, n: bar.update(
            task, description=name, completed=done, total=n or None
        )
