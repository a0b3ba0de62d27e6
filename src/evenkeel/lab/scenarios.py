"""Scenarios on real guests: a neighbour that turns noisy, and an hour in which nothing happens.

Judged from outside: useful work is counted by the guests and read over HTTP, knobs are read back
from libvirt, times are this machine's clock. What Evenkeel says is taken from its API alone.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from evenkeel.domain.errors import LabError
from evenkeel.envelope import Result
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet
from evenkeel.lab.guests import Guest

Report = Callable[[str], None]

CALM_PCT: Final = 4
WORK_PCT: Final = 90
SETTLE_S: Final = 45.0
"""Quiet time before the noise: what is normal for a VM takes four slots of ten seconds."""
WATCH_S: Final = 30.0
AFTER_S: Final = 8.0
ALARM: Final = 20.0


class WorkMeter(threading.Thread):
    """Reads a guest's work counter a few times a second; `rate` answers for any span."""

    def __init__(self, guest: Guest, every_s: float = 0.25) -> None:
        super().__init__(daemon=True, name=f"meter-{guest.name}")
        self._guest = guest
        self._every_s = every_s
        self._stopped = threading.Event()
        self._points: list[tuple[float, int]] = []
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                ticks = self._guest.stats()["ticks"]
            except LabError:
                continue
            self._points.append((time.time(), ticks))

    def rate(self, since_s: float, until_s: float) -> float:
        """Work per second between two instants. Raises LabError when it was read too rarely."""
        inside = [p for p in list(self._points) if since_s <= p[0] <= until_s]
        if len(inside) < 2:
            raise LabError(f"{self._guest.name} did not answer often enough to tell its work")
        (t0, w0), (t1, w1) = inside[0], inside[-1]
        return (w1 - w0) / (t1 - t0)

    def stop(self) -> None:
        self._stopped.set()
        self.join(5)


@dataclass(slots=True)
class NoisyRun:
    """What one run showed. Rates are work per second of the victim; NaN-free for JSON."""

    host: str
    victim: str
    noisy: str
    core: int
    alone: float = 0.0
    contended: float = 0.0
    after: float = 0.0
    detect_s: float | None = None
    act_s: float | None = None
    named: str = ""
    score: float = 0.0
    culprit_first: bool = False
    actions: list[str] = field(default_factory=list)
    rollback_s: float | None = None
    rollback_exact: bool = False

    @property
    def recovered(self) -> float:
        return self.after / self.alone if self.alone else 0.0


def noisy_neighbour(fleet: Fleet, mode: str, runs: int, seed: int, report: Report) -> Result:
    """`runs` times: boot three guests, let one turn noisy, watch what is done about it."""
    rng = random.Random(seed)  # noqa: S311  a seed for repeatability, not a secret
    start_s = time.monotonic()
    done: list[NoisyRun] = []
    for i in range(runs):
        run = _one_noisy_run(
            fleet, mode, rng, i, partial(_report_run, report, f"run {i + 1}/{runs}")
        )
        done.append(run)
        report(
            f"run {i + 1}/{runs}: culprit {run.named or 'not named'}, detected "
            f"{run.detect_s or float('nan'):.1f} s, recovered {run.recovered:.0%}"
        )
    detect = [run.detect_s if run.detect_s is not None else WATCH_S for run in done]
    act = [run.act_s if run.act_s is not None else WATCH_S for run in done]
    recovered = [run.recovered for run in done]
    contended = [run.contended / run.alone if run.alone else 0.0 for run in done]
    metrics = {
        "culprit_first": _share(run.culprit_first for run in done),
        "detect_s.p50": statistics.median(detect),
        "detect_s.p95": _quantile(detect, 0.95),
        "act_s.p50": statistics.median(act),
        "act_s.p95": _quantile(act, 0.95),
        "recovered.median": statistics.median(recovered),
        "recovered.p10": _quantile(recovered, 0.10),
        "rollback_exact": _share(run.rollback_exact for run in done),
        "runs": float(len(done)),
    }
    nothing_done = {
        "recovered.median": statistics.median(contended),
        "recovered.p10": _quantile(contended, 0.10),
    }
    return Result(
        name="lab.noisy-neighbour",
        seed=seed,
        seconds=time.monotonic() - start_s,
        metrics={k: round(v, 4) for k, v in metrics.items()},
        baselines={"no-action": {k: round(v, 4) for k, v in nothing_done.items()}},
        detail={"mode": mode, "runs": [asdict(r) | {"recovered": r.recovered} for r in done]},
    )


def _report_run(report: Report, which: str, text: str) -> None:
    report(f"{which}: {text}")


def _one_noisy_run(fleet: Fleet, mode: str, rng: random.Random, i: int, report: Report) -> NoisyRun:
    lab = fleet.lab
    host = rng.choice(lab.hosts)
    core, other = rng.sample(host.cpus[:2], 2)
    names = [f"r{i}{part}" for part in ("a", "b", "c")]
    rng.shuffle(names)
    victim_name, noisy_name, calm_name = names
    wait_s = rng.uniform(0.0, 6.0)
    report(f"booting {', '.join(sorted(names))} on {host.name}")
    fleet.put_mode("observe")  # booting guests collide, which is not what is staged here
    pins = {victim_name: ((core,),), noisy_name: ((core,),), calm_name: ((other,),)}
    guests = {
        name: lab.start_guest(
            host.name, name, GuestSpec(cpu_pct=CALM_PCT, pins=pins[name]), wait=False
        )
        for name in sorted(names)
    }
    before = {name: knobs(guest) for name, guest in guests.items()}
    run = NoisyRun(host=host.name, victim=victim_name, noisy=noisy_name, core=core)
    meter: WorkMeter | None = None
    try:
        for guest in guests.values():
            guest.wait_ready()
        guests[victim_name].set_load(cpu=WORK_PCT)
        meter = WorkMeter(guests[victim_name])
        report("quiet")
        time.sleep(SETTLE_S + wait_s)
        fleet.put_mode(mode)
        time.sleep(2 * fleet.tick_s)
        onset_s = time.time()
        run.alone = meter.rate(onset_s - 20.0, onset_s)
        guests[noisy_name].set_load(cpu=100, thr=1)
        report(f"{noisy_name} turned noisy")
        _watch(fleet, run, guests, onset_s)
        end_s = time.time()
        acted_s = onset_s + run.act_s if run.act_s is not None else end_s - AFTER_S
        run.contended = meter.rate(onset_s + 0.5, min(acted_s, end_s))
        run.after = meter.rate(max(acted_s + 0.5, end_s - AFTER_S), end_s)
        guests[noisy_name].set_load(cpu=CALM_PCT)
        report("noise over, waiting for the rollback")
        run.rollback_s = _wait_for_rollback(fleet, host.name)
        run.rollback_exact = before == {name: knobs(guest) for name, guest in guests.items()}
    finally:
        if meter is not None:
            meter.stop()
        for guest in guests.values():
            guest.destroy()
    return run


def _watch(fleet: Fleet, run: NoisyRun, guests: dict[str, Guest], onset_s: float) -> None:
    """Follow the API from the onset until the action has had time to work."""
    victim = guests[run.victim].uuid
    deadline_s = onset_s + WATCH_S
    while time.time() < deadline_s:
        if run.detect_s is None:
            pairs = fleet.get("/v1/pairs", host=run.host, min_score=ALARM, limit=10)["items"]
            if any(p["victim"] == victim for p in pairs):
                run.detect_s = time.time() - onset_s
                run.named, run.score = pairs[0]["aggressor_name"], pairs[0]["score"]
                run.culprit_first = (
                    pairs[0]["aggressor_name"] == run.noisy and pairs[0]["victim"] == victim
                )
        if run.act_s is None:
            applied = [
                m
                for m in fleet.get("/v1/mitigations", host=run.host, open_only=True)["items"]
                if m["state"] in ("active", "verified") and m["created_at_s"] >= onset_s
            ]
            if applied:
                run.act_s = applied[0]["created_at_s"] - onset_s
                run.actions = [f"{m['kind']} of {m['target_name']}: {m['change']}" for m in applied]
                deadline_s = time.time() + AFTER_S + 1.0
        time.sleep(0.25)


def _wait_for_rollback(fleet: Fleet, host: str, timeout_s: float = 60.0) -> float | None:
    """Seconds until no mitigation is open on the host; None when it takes too long."""
    try:
        return fleet.wait(
            lambda: not fleet.get("/v1/mitigations", host=host, open_only=True)["items"],
            timeout_s,
            "the rollback",
        )
    except LabError:
        return None


def knobs(guest: Guest) -> dict[str, Any]:
    """A guest's CPU knobs straight from libvirt, to compare before and after."""
    domain = guest.domain()
    try:
        scheduler = domain.schedulerParameters()
    except Exception as error:
        scheduler = {"unavailable": str(error)}
    return {"pins": domain.vcpuPinInfo(), "emulator": domain.emulatorPinInfo(), **scheduler}


def quiet(fleet: Fleet, minutes: float, seed: int, report: Report) -> Result:
    """Steady guests for a while, in act mode: every alarm is false, every action one too many."""
    rng = random.Random(seed)  # noqa: S311  a seed for repeatability, not a secret
    start_s = time.monotonic()
    guests = []
    fleet.put_mode("act")
    try:
        for k, host in enumerate(fleet.lab.hosts):
            for part in ("a", "b"):
                spec = GuestSpec(cpu_pct=rng.choice((5, 10, 20, 30)))
                guests.append(fleet.lab.start_guest(host.name, f"q{k}{part}", spec, wait=False))
        for guest in guests:
            guest.wait_ready()
        # Booting is work like any other, and four guests booting at once do collide.
        time.sleep(20)
        n_before = len(fleet.get("/v1/mitigations", limit=1000)["items"])
        alarms: set[tuple[str, str, int]] = set()
        worst = 0.0
        end_s = time.monotonic() + minutes * 60
        while time.monotonic() < end_s:
            report(f"{(end_s - time.monotonic()) / 60:.1f} minutes left, {len(alarms)} alarms")
            minute = int((time.monotonic() - start_s) // 60)
            for pair in fleet.get("/v1/pairs", min_score=1, limit=100)["items"]:
                worst = max(worst, pair["score"])
                if pair["score"] >= ALARM:
                    alarms.add((pair["victim"], pair["aggressor"], minute))
            time.sleep(1.0)
        actions = len(fleet.get("/v1/mitigations", limit=1000)["items"]) - n_before
    finally:
        for guest in guests:
            guest.destroy()
    metrics = {
        "false_alarms": float(len(alarms)),
        "actions": float(actions),
        "worst_score": worst,
        "minutes": minutes,
    }
    return Result("lab.quiet", time.monotonic() - start_s, metrics, seed=seed)


def _share(values: Any) -> float:
    found = [bool(v) for v in values]
    return sum(found) / len(found) if found else 0.0


def _quantile(values: list[float], q: float) -> float:
    """Linear interpolation between order statistics, as numpy does by default."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
