"""The checks behind `evenkeel doctor`. None raises: what goes wrong is a verdict, in one line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from evenkeel.cli.client import ApiClient
from evenkeel.config import AgentConfig, ClientConfig
from evenkeel.domain.errors import EvenkeelError, Forbidden

SKEW_WARN_S: Final = 3.0
SKEW_FAIL_S: Final = 60.0
FREE_FAIL_MIB: Final = 16.0
_NEEDED: Final = frozenset({"libvirt", "run-queue delay"})
"""Findings without which the agent is of no use; the others cost it a feature."""


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line why, one line what to do."""

    name: str
    verdict: Verdict
    line: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


def looks_like_host(agent: AgentConfig) -> bool:
    """Whether an agent is set up here, or a libvirt daemon has its sockets here."""
    if agent.controller_url or agent.libvirt_uri != AgentConfig().libvirt_uri:
        return True
    return Path(agent.token_file).exists() or Path("/run/libvirt/libvirt-sock").exists()


# --- controller -------------------------------------------------------------------------------


def check_client(
    settings: ClientConfig,
    connect: Callable[[ClientConfig], ApiClient] = ApiClient,
    now: Callable[[], float] = time.time,
) -> list[Check]:
    """Is the controller there, whose token is this, and do the clocks agree?"""
    try:
        with connect(settings) as api:
            asked_s = now()
            server_s = api.server_time_s()
            took_s = now() - asked_s
            line = f"{api.url} answers in {1000 * took_s:.0f} ms"
            checks = [Check("controller", Verdict.OK, line), _clock(server_s, asked_s + took_s / 2)]
            return [*checks, _token(api, bool(settings.token or settings.token_file))]
    except EvenkeelError as error:
        return [Check("controller", Verdict.FAIL, error.message, error.hint)]


def _clock(server_s: float | None, local_s: float) -> Check:
    """The `Date` header counts whole seconds, so its middle is meant."""
    if server_s is None:
        return Check("clock", Verdict.WARN, "the controller does not tell its time")
    skew_s = local_s - (server_s + 0.5)
    line = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the controller"
    hint = "Run an NTP client (chrony, systemd-timesyncd) on both machines."
    if abs(skew_s) > SKEW_FAIL_S:
        return Check("clock", Verdict.FAIL, line, hint)
    if abs(skew_s) > SKEW_WARN_S:
        return Check("clock", Verdict.WARN, line, hint)
    return Check("clock", Verdict.OK, "agrees with the controller's")


def _token(api: ApiClient, given: bool) -> Check:
    """Only an admin may list tokens, and an agent may not read the fleet: so a role shows."""
    if not given:
        hint = "Set EVENKEEL_TOKEN, or --token-file; the controller's admin.token holds the first."
        return Check("token", Verdict.FAIL, "no token is set", hint)
    try:
        api.get("/v1/tokens", limit=1)
        return Check("token", Verdict.OK, "an admin's: it may read and change everything")
    except Forbidden:
        pass
    except EvenkeelError as error:
        return Check("token", Verdict.FAIL, f"{error.code}: {error.message}", error.hint)
    try:
        api.get("/v1/status")
        return Check("token", Verdict.OK, "a tenant's: it may read its own VMs")
    except Forbidden:
        hint = "The read commands need an admin's or a tenant's token."
        return Check("token", Verdict.WARN, "an agent's: it may only report", hint)
    except EvenkeelError as error:
        return Check("token", Verdict.FAIL, f"{error.code}: {error.message}", error.hint)


# --- host -------------------------------------------------------------------------------------


def check_host(agent: AgentConfig) -> list[Check]:
    return [
        *_libvirt(agent),
        _agent_token(agent),
        _state_dir(Path(agent.state_dir), agent.spool_max_mib),
        _journal(Path(agent.state_dir) / "journal.db", time.time()),
    ]


def _libvirt(agent: AgentConfig) -> list[Check]:
    try:
        from evenkeel.adapters.clock import SystemClock
        from evenkeel.adapters.libvirt.diagnose import diagnose
    except ImportError as error:
        hint = "Install it on hosts: pip install 'evenkeel[agent]'"
        return [Check("libvirt", Verdict.FAIL, f"cannot be loaded: {error}", hint)]
    checks = []
    for finding in diagnose(agent, SystemClock()):
        bad = Verdict.FAIL if finding.check in _NEEDED else Verdict.WARN
        verdict = Verdict.OK if finding.ok else Verdict.WARN if finding.ok is None else bad
        checks.append(Check(str(finding.check), verdict, finding.message, finding.hint))
    return checks


def _agent_token(agent: AgentConfig) -> Check:
    name, path = "agent token", Path(agent.token_file)
    if not agent.controller_url:
        hint = "Set `agent.controller_url` to let it report; without, it works alone."
        return Check(name, Verdict.WARN, "no controller is set for the agent", hint)
    hint = "`evenkeel token create agent HOST` makes one; write it there with mode 0600."
    try:
        if not path.read_text(encoding="utf-8").strip():
            return Check(name, Verdict.FAIL, f"{path} is empty", hint)
        mode = path.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        return Check(name, Verdict.FAIL, f"{path}: {error}", hint)
    if mode & 0o077:
        return Check(name, Verdict.WARN, f"{path} has mode {mode:04o}", f"chmod 600 {path}")
    return Check(name, Verdict.OK, f"{path}, mode {mode:04o}")


def _state_dir(path: Path, spool_mib: float) -> Check:
    name = "state directory"
    if not path.exists():
        line = f"{path} does not exist yet"
        if os.access(next(parent for parent in path.parents if parent.exists()), os.W_OK):
            return Check(name, Verdict.WARN, line, "The agent makes it at its first start.")
        return Check(name, Verdict.FAIL, line, f"mkdir -p {path}, owned by the agent's user")
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as probe:
            probe.write(b"x")
            probe.flush()
        free_mib = shutil.disk_usage(path).free / 2**20
    except OSError as error:
        hint = "The agent does not act where it cannot write its journal."
        return Check(name, Verdict.FAIL, f"{path}: {error}", hint)
    line = f"{path} is writable, {free_mib:,.0f} MiB free"
    hint = f"Journal and spool want {spool_mib:.0f} MiB; free some, or set `agent.spool_max_mib`."
    if free_mib < FREE_FAIL_MIB:
        return Check(name, Verdict.FAIL, line, hint)
    return Check(name, Verdict.WARN if free_mib < spool_mib else Verdict.OK, line, hint)


def _journal(path: Path, now_s: float) -> Check:
    """Changes still in force past their expiry: then no agent is alive to undo them."""
    name = "journal"
    if not path.exists():
        return Check(name, Verdict.OK, "empty: this host was never changed")
    query = (
        "SELECT count(*), coalesce(sum(json_extract(CAST(body AS TEXT), '$.expires_at_s') < ?), 0)"
        " FROM mitigation WHERE open"
    )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as journal:
            n_open, n_expired = journal.execute(query, (now_s,)).fetchone()
    except sqlite3.Error as error:
        hint = "Until an operator has looked at it, the agent only watches."
        return Check(name, Verdict.FAIL, f"{path}: {error}", hint)
    if n_expired:
        line = f"{n_expired} changes are in force past their expiry"
        hint = "Start the agent: it undoes them first. Or by hand: evenkeel agent --restore"
        return Check(name, Verdict.FAIL, line, hint)
    return Check(name, Verdict.OK, f"{n_open} changes in force, none past its expiry")
