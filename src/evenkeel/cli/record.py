"""`evenkeel record`: what one's own fleet did, from a running controller, into one file.

An hour is fetched and written at a time, so that neither side ever holds a week.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import numpy as np
import typer

from evenkeel import __version__
from evenkeel.cli.client import ApiClient, Json, TokenFileOption, UrlOption, connect
from evenkeel.cli.output import JsonFlag, err, friendly_errors, out, print_json
from evenkeel.cli.times import instant_s, span_s
from evenkeel.domain.errors import ConfigInvalid, ControllerUnavailable

if TYPE_CHECKING:
    from evenkeel.adapters.traces.recorded import (
        RecordedHost,
        RecordedRows,
        RecordedVm,
        Written,
    )

T = TypeVar("T")
PIECE_S: Final = 3600
VMS_AT_ONCE: Final = 500


@friendly_errors
def record(
    file: Annotated[Path, typer.Argument(help="What to write (Parquet).")],
    last: Annotated[str, typer.Option("--last", help="How far back: 12h, 7d, 4w.")] = "7d",
    until: Annotated[
        str, typer.Option("--until", help="Where it ends: now, a date, epoch seconds.")
    ] = "now",
    anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous", help="Salted hashes for tenants, VMs, hosts; the salt is thrown away."
        ),
    ] = False,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Record hosts, VMs, where they were and what they wanted, slot by slot, for simulations.

    It takes an administrator's token. The file is plain Parquet; `evenkeel simulate --scenario
    replay` reads it, and docs/operations.md tells its columns. It is there whole or not at all.

    Example: [bold]evenkeel record fleet.parquet --last 7d --anonymous[/]
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    _require_pyarrow()
    end_s = instant_s(until, time.time())
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        connect(url, token_file) as api,
        Progress(*columns, console=err, transient=True) as bar,
    ):
        task = bar.add_task("recording", total=None)
        told = _recorded(
            Source(api, Veil(secrets.token_bytes(32)) if anonymous else None),
            file,
            end_s - span_s(last),
            end_s,
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    if as_json:
        return print_json(told)
    hours = told["n_slots"] * told["slot_s"] / 3600
    out.print(
        f"{told['n_hosts']:,} hosts and {told['n_vms']:,} VMs over {hours:g} hours: "
        f"{told['n_rows']:,} rows, {told['bytes'] / 2**20:.1f} MiB, written to {file}",
        highlight=False,
        soft_wrap=True,
    )
    if told["n_slots_missing"]:
        out.print(f"{told['n_slots_missing']:,} slots are not in the history.", style="dim")
    if told["n_vms_left_out"]:
        out.print(
            f"{told['n_vms_left_out']:,} VMs are left out: the controller knows them no more.",
            style="dim",
        )
    return None


@dataclass(frozen=True, slots=True)
class Veil:
    """The same word for the same name, within one recording, and no way back."""

    salt: bytes

    def __call__(self, what: str, name: str) -> str:
        if not name:
            return ""
        digest = hmac.new(self.salt, f"{what}\0{name}".encode(), hashlib.sha256).hexdigest()
        return f"{what}-{digest[:16]}"

    def host(self, host: RecordedHost) -> RecordedHost:
        domain = self("domain", host.fault_domain)
        return replace(host, name=self("host", host.name), fault_domain=domain)

    def vm(self, vm: RecordedVm) -> RecordedVm:
        tenant, name = self("tenant", vm.tenant), self("vm", vm.vm)
        kind = tenant + vm.kind.removeprefix(vm.tenant)
        return replace(vm, vm=name, name=name, tenant=tenant, kind=kind)


@dataclass(slots=True)
class Source:
    """A controller's answers in the file's terms, under a veil or as they are."""

    api: ApiClient
    veil: Veil | None
    known: dict[str, RecordedVm] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def hosts(self) -> tuple[RecordedHost, ...]:
        from evenkeel.adapters.traces.recorded import RecordedHost

        items = self.api.everything("/v1/recording/hosts", 0)["items"]
        found = [_taken(RecordedHost, {**item, "name": item["host"]}) for item in items]
        shown = [self.veil.host(host) if self.veil else host for host in found]
        return tuple(sorted(shown, key=lambda host: host.name))

    def rows(self, start_s: int, end_s: int) -> RecordedRows:
        """Of VMs that the controller knows; others are `gone`."""
        from evenkeel.adapters.traces.recorded import DEMAND, RecordedRows

        answer = self.api.get("/v1/recording/slots", start_s=start_s, end_s=end_s)
        names: list[str] = answer["vms"]
        self._learn([name for name in names if name not in self.known and name not in self.gone])
        vm = _unpacked(answer, "vm", "<i4").astype(np.intp)
        # A VM that is not known any more has no place among those that are.
        place = np.full(len(names), -1, np.intp)
        vms: list[RecordedVm] = []
        for k, name in enumerate(names):
            if name in self.known:
                place[k] = len(vms)
                vms.append(self.known[name])
        kept = place[vm] >= 0
        demand = _unpacked(answer, "demand", "<f4").reshape(-1, len(DEMAND))
        hosts = [self.veil("host", host) if self.veil else host for host in answer["hosts"]]
        return RecordedRows(
            slot=_unpacked(answer, "slot", "<i8").astype(np.intp)[kept],
            vms=vms,
            vm=place[vm][kept],
            hosts=hosts,
            host=_unpacked(answer, "host", "<i4").astype(np.intp)[kept],
            demand=demand[kept],
        )

    def _learn(self, names: list[str]) -> None:
        from evenkeel.adapters.traces.recorded import RecordedVm

        for k in range(0, len(names), VMS_AT_ONCE):
            some = names[k : k + VMS_AT_ONCE]
            for item in self.api.post("/v1/recording/vms", {"ids": some})["items"]:
                vm = _taken(RecordedVm, item)
                self.known[vm.vm] = self.veil.vm(vm) if self.veil else vm
        self.gone.update(name for name in names if name not in self.known)


def _recorded(
    source: Source, file: Path, since_s: int, until_s: int, report: Callable[[int, int], None]
) -> Json:
    from evenkeel.adapters.traces.recorded import About, write_recorded

    span = source.api.get("/v1/recording", since_s=since_s, until_s=until_s)
    start_s, end_s, slot_s = span["start_s"], span["end_s"], span["slot_s"]
    about = About(
        start_s=start_s,
        end_s=end_s,
        slot_s=slot_s,
        hosts=source.hosts(),
        anonymous=source.veil is not None,
        evenkeel=__version__,
    )

    def pieces() -> Iterator[RecordedRows]:
        step_s = max(slot_s, PIECE_S // slot_s * slot_s)
        for at_s in range(start_s, end_s, step_s):
            yield source.rows(at_s, min(end_s, at_s + step_s))
            report(min(end_s, at_s + step_s) - start_s, end_s - start_s)

    try:
        written: Written = write_recorded(file, about, pieces())
    except OSError as error:
        raise ConfigInvalid(
            f"{file} cannot be written: {error}", hint="Is there room, and may you write there?"
        ) from error
    n_slots = (end_s - start_s) // slot_s
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "version": about.v,
        "start_s": start_s,
        "end_s": end_s,
        "slot_s": slot_s,
        "n_slots": n_slots,
        "n_slots_missing": n_slots - span["n_kept"],
        "n_hosts": len(about.hosts),
        "n_vms": len(written.vms),
        "n_vms_left_out": len(source.gone),
        "n_rows": written.n_rows,
        "anonymous": about.anonymous,
    }


def _taken(kind: type[T], item: Json) -> T:
    """What `kind` has of what the controller said, whatever else it said."""
    try:
        return kind(**{name: item[name] for name in kind.__annotations__})
    except KeyError as error:
        raise _not_understood(str(error)) from error


def _unpacked(answer: Json, name: str, form: str) -> np.ndarray[Any, Any]:
    try:
        return np.frombuffer(base64.b64decode(answer[name], validate=True), dtype=form)
    except (KeyError, ValueError, TypeError) as error:
        raise _not_understood(repr(name)) from error


def _not_understood(what: str) -> ControllerUnavailable:
    return ControllerUnavailable(
        f"the controller's answer has no usable {what}",
        hint="Are this Evenkeel and the controller of the same version?",
    )


def _require_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise ConfigInvalid("recordings need pyarrow", hint="pip install 'evenkeel[forecast]'")
