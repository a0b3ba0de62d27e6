"""`evenkeel demo`: a fleet to look at, on this machine, with a neighbour that turns noisy.

Real QEMU guests where the machine can run them; the simulated fleet where it cannot, said plainly.
This is what `make run` starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any

import typer

from evenkeel.cli.output import err, friendly_errors, out
from evenkeel.domain.errors import EvenkeelError, LabError, LabMissingTools
from evenkeel.lab.config import LabConfig, default_number
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab

VICTIM, NOISY = "web1", "batch7"
QUIET_FIRST_S = 42.0
NAMED_WITHIN_S = 60.0
LOUD_S, CALM_S = 90.0, 60.0

GUESTS: dict[str, tuple[str, GuestSpec]] = {
    VICTIM: ("h1", GuestSpec(cpu_pct=4, pins=((0,),), tenant="acme")),
    NOISY: ("h1", GuestSpec(cpu_pct=4, pins=((0,),), tenant="globex")),
    "cache2": ("h1", GuestSpec(cpu_pct=4, pins=((1,),), tenant="acme")),
    "db1": ("h2", GuestSpec(cpu_pct=15, tenant="globex")),
    "mail3": ("h2", GuestSpec(cpu_pct=4, tenant="initech")),
}


@friendly_errors
def demo(
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Do not try real guests; simulate the fleet.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when the culprit has been named.")
    ] = False,
    mode: Annotated[str, typer.Option(help="observe, advise or act.")] = "advise",
) -> None:
    """Start a small fleet here and watch one VM hurt another; Ctrl-C takes everything down.

    Example: evenkeel demo --mode act
    """
    began_s = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    lab = None if simulated else _real_lab()
    try:
        if lab is None:
            from evenkeel.cli.demo_simulated import run_simulated

            run_simulated(mode, once, began_s, show_cli)
            return
        _run_real(lab, mode, once, began_s)
    except KeyboardInterrupt:
        err.print("stopping")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: `timeout make run` sends it twice, and the second must not end the taking down."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _real_lab() -> Lab | None:
    """The lab, up; None, with the reason said, where real guests cannot run."""
    lab = Lab(LabConfig(number=default_number(dict(os.environ)), n_hosts=2))
    try:
        with err.status("starting the lab") as progress:
            already = lab.up(progress.update).already
    except (LabMissingTools, LabError) as error:
        err.print(f"[yellow]no real guests here:[/] {error.message}", highlight=False)
        err.print(f"[dim]{error.hint}[/]", highlight=False)
        err.print("[yellow]going on with the simulated fleet[/]")
        return None
    if already:
        raise LabError(
            f"lab {lab.config.number} is up already",
            hint="`evenkeel lab down` removes it; EVENKEEL_LAB=1 makes another.",
        )
    return lab


def _run_real(lab: Lab, mode: str, once: bool, began_s: float) -> None:
    fleet = Fleet(lab)
    try:
        with err.status("starting Evenkeel") as progress:
            fleet.start(mode, progress.update)
            progress.update(f"booting {len(GUESTS)} guests")
            guests = {
                name: lab.start_guest(host, name, spec, wait=False)
                for name, (host, spec) in GUESTS.items()
            }
            for guest in guests.values():
                guest.wait_ready()
            guests[VICTIM].set_load(cpu=85)
        _say_where(fleet.url, str(fleet.token_file), began_s)
        with err.status(f"{QUIET_FIRST_S:.0f} quiet seconds, to learn what is normal"):
            time.sleep(QUIET_FIRST_S)
        _show_noise(fleet, guests, began_s)
        if not once:
            _go_on(guests)
    finally:
        with err.status("taking everything down"):
            fleet.stop()
            lab.down()


def _say_where(url: str, token_file: str, began_s: float) -> None:
    out.print(
        f"\nThe fleet is up after {time.monotonic() - began_s:.0f} s."
        f"\n  page   [bold]{url}/[/]"
        f"\n  token  {token_file}"
        f"\n  CLI    EVENKEEL_URL={url} EVENKEEL_TOKEN=$(cat {token_file}) evenkeel status\n",
        highlight=False,
        soft_wrap=True,
    )


def _show_noise(fleet: Fleet, guests: dict[str, Guest], began_s: float) -> None:
    """Make the noise, wait until the culprit is named, and show what the terminal shows."""
    out.print(f"[bold]{NOISY} turns noisy[/] (100 % of a core that it shares with {VICTIM})")
    guests[NOISY].set_load(cpu=100)
    onset_s = time.monotonic()
    top: dict[str, Any] = {}

    def named() -> bool:
        pairs = fleet.get("/v1/pairs", min_score=20, limit=1)["items"]
        top.update(pairs[0] if pairs else {})
        return top.get("victim_name") == VICTIM

    fleet.wait(named, NAMED_WITHIN_S, "the culprit to be named")
    out.print(
        f"[bold red]{top['aggressor_name']} hurts {top['victim_name']}[/] on {top['resource']}: "
        f"score {top['score']:.0f}, confidence {top['confidence']:.2f}; "
        f"named {time.monotonic() - onset_s:.0f} s after the noise began, "
        f"{(time.monotonic() - began_s) / 60:.1f} minutes after the start\n",
        highlight=False,
    )
    time.sleep(5)
    show_cli(fleet.url, fleet.token_file.read_text().strip(), VICTIM)


def show_cli(url: str, token: str, victim: str) -> None:
    """What an operator would type next, and what they would see."""
    env = os.environ | {"EVENKEEL_URL": url, "EVENKEEL_TOKEN": token}
    for words in (["map"], ["why", victim]):
        out.print(f"[dim]$ evenkeel {' '.join(words)}[/]")
        subprocess.run([sys.executable, "-m", "evenkeel", *words], env=env, check=False)


def _go_on(guests: dict[str, Guest]) -> None:
    """Noise and calm in turn, until the person has seen enough."""
    out.print("\nThe noise now comes and goes. Try `evenkeel mode act` and watch. Ctrl-C ends.")
    for loud in _forever():
        with contextlib.suppress(EvenkeelError):
            guests[NOISY].set_load(cpu=100 if loud else 4)
        time.sleep(LOUD_S if loud else CALM_S)


def _forever() -> Iterator[bool]:
    while True:
        yield True
        yield False
