"""What `evenkeel simulate` does once its words are read: it asks the wiring, and tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from evenkeel.cli.output import out
from evenkeel.cli.times import instant_s, span_s
from evenkeel.domain.errors import SimulationInvalid, TraceInvalid

if TYPE_CHECKING:
    from evenkeel.wiring.cloudsim import Outcome
    from evenkeel.wiring.recordings import Options
    from evenkeel.wiring.replay import Replayed

Told = Callable[[str, int, int], None]
"""(what is done, steps done, of how many)"""

SHOWN: Final = (
    ("energy_kwh", "energy, kWh"),
    ("wh_per_core_hour", "Wh a core hour"),
    ("host_hours", "host hours"),
    ("hosts_peak", "hosts, at most"),
    ("migrations", "moves"),
    ("migrated_gib", "GiB moved"),
    ("unserved_pct", "unserved, %"),
    ("slatah_pct", "hosts short, %"),
    ("contended_vm_hours", "VM h > 10 % lost"),
    ("loss_p99_pct", "p99 loss, %"),
    ("worst_vm_loss_pct", "worst VM lost, %"),
    ("refused", "VMs refused"),
    ("mitigations", "fixes in place"),
    ("rolled_back", "rolled back"),
)
"""Of the metrics, what the table shows; all are in the files."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Words of the command that need no look at the recording."""

    paths: tuple[Path, ...]
    form: str
    days: tuple[str, ...]
    policies: str
    n_hosts: int | None
    host_kind: str | None
    overcommit: float
    begin: str | None
    hours: float | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Of Azure's arrivals: how many or what share, and whose demand they have (None: made up)."""

    n_vms: int | None
    share: float | None
    lender: Path | None
    lender_form: str


def must_be_writable(*paths: Path | None) -> None:
    """Before hours are spent. Raises SimulationInvalid."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise SimulationInvalid(
                f"{path}: cannot be written", hint="Name a file in a folder that exists."
            )


def cloudsim(
    sources: Sequence[Path],
    days: tuple[str, ...],
    order: str,
    policy: str,
    honour_ram: bool,
    told: Told,
) -> Outcome:
    """Raises SimulationInvalid, TraceInvalid."""
    from evenkeel.wiring.cloudsim import PolicyName, Question, run

    if len(sources) != 1 or len(days) > 1:
        raise TraceInvalid(
            f"{len(sources)} inputs and {len(days)} days",
            hint="This benchmark is of one day: one --input, and one --day where it holds several.",
        )
    names = [name.value for name in PolicyName]
    if policy and policy not in names:
        raise SimulationInvalid(
            f"there is no policy {policy!r}", hint=f"--policy is one of {', '.join(names)}."
        )
    question = Question(
        sources[0],
        days[0] if days else None,
        order,
        PolicyName(policy or PolicyName.EVENKEEL),
        honour_ram,
    )
    return run(question, lambda done, of: told("ticks", done, of))


def replayed(
    asked: Asked, drawn: Drawn, vm_size: str, corun: Path | None, seed: int, told: Told
) -> Replayed:
    """Raises SimulationInvalid, TraceInvalid."""
    from evenkeel.wiring.recordings import Form
    from evenkeel.wiring.replay import POLICIES, Question, replay

    question = Question(
        paths=asked.paths,
        form=Form(asked.form),
        policies=tuple(asked.policies.split(",")) if asked.policies else tuple(POLICIES),
        options=_options(asked, drawn, vm_size, seed),
        n_hosts=asked.n_hosts,
        host_kind=asked.host_kind,
        overcommit=asked.overcommit,
        from_s=_begin(asked.begin),
        after_s=_after(asked.begin),
        hours=asked.hours,
        corun=corun,
        seed=seed,
    )
    return replay(question, told)


def _options(asked: Asked, drawn: Drawn, vm_size: str, seed: int) -> Options:
    """With the lender's recording read. Raises SimulationInvalid, TraceInvalid."""
    from evenkeel.wiring.recordings import Form, Options, read_recording

    is_azure = asked.form == Form.AZURE
    if not is_azure and drawn != Drawn(None, None, None, drawn.lender_form):
        raise SimulationInvalid(
            "--vms, --share and --demand-from are of Azure's arrivals",
            hint="Leave them out, or say --format azure.",
        )
    vcpus, memory_mib = _size(vm_size)
    plain = Options(asked.days, vcpus, memory_mib, seed=seed)
    lender = None
    if drawn.lender is not None:
        lender = read_recording([drawn.lender], Form(drawn.lender_form), plain)
    return replace(plain, share=drawn.share, n_vms=drawn.n_vms, lender=lender)


def _size(text: str) -> tuple[float, float]:
    vcpus, _, memory = text.lower().partition("x")
    try:
        return float(vcpus), float(memory)
    except ValueError as error:
        raise SimulationInvalid(
            f"VM size {text!r}", hint="--vm-size VCPUSxMIB, such as 1x1024."
        ) from error


def _begin(text: str | None) -> float | None:
    return None if text is None or text.startswith("+") else float(instant_s(text, 0.0))


def _after(text: str | None) -> float:
    return float(span_s(text[1:])) if text is not None and text.startswith("+") else 0.0


def tell(replayed: Replayed, json_out: Path | None, html: Path | None) -> None:
    """A table of all policies, what is assumed, and the files that were asked for."""
    from evenkeel.bench.replay_report import report, result

    recording, outcomes = replayed.recording, replayed.outcomes
    seed = replayed.question.seed
    result(recording, outcomes, sum(replayed.seconds.values()), seed).write(json_out)
    days = recording.n_slots * recording.slot_s / 86_400
    out.print(
        f"{recording.source}: {len(recording.vms.ids):,} VMs, {replayed.n_hosts:,} hosts, "
        f"{days:.3g} days",
        markup=False,
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for outcome in outcomes:
        table.add_column(outcome.policy.replace("-", "-\n"), justify="right")
    for name, words in SHOWN:
        table.add_row(words, *(_short(outcome.metrics[name]) for outcome in outcomes))
    out.print(table)
    for note in replayed.notes:
        out.print(f"- {note}", highlight=False, markup=False)
    if json_out:
        out.print(f"written to {json_out}", highlight=False)
    if html:
        out.print(f"written to {report(recording, outcomes, html, seed)}", highlight=False)


def _short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
