"""Are collisions foreseen? Guests that burst by the clock or by events, days in fast motion.

On each host a steady victim shares its core with a diurnal and an event-driven aggressor. The
controller has their past and a model trained on others like them; agents only score. Each burst is
judged by when the score for a minute ahead passes the threshold, and when the loss does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.domain.errors import LabError
from evenkeel.domain.rollup import RollUp
from evenkeel.envelope import Result
from evenkeel.lab.bursts_story import (
    BURST_S,
    DAY_S,
    PAST_DAYS,
    SLOT_S,
    Actor,
    Foreseen,
    Habit,
    crowd,
    day_starts,
    event_starts,
    judged,
    rollups,
)
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.fleet import Fleet, tail
from evenkeel.lab.guests import Guest
from evenkeel.lab.scenarios import Report

TICK_S: Final = 5.0
AHEAD_S: Final = 60.0
ALARM: Final = 20.0
LOOK_BACK_S: Final = 100.0
VICTIM_CORES, IDLE_CORES, BURST_CORES = 0.6, 0.04, 0.95
MAX_POINTS: Final = 1000
TRAIN_TIMEOUT_S: Final = 1200.0
Series = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Troupe:
    """One host's guests: a victim, and who bursts."""

    host: str
    victim: Guest
    guests: tuple[Guest, ...]
    actors: tuple[Actor, ...]


def bursts(fleet: Fleet, minutes: float, seed: int, report: Report) -> Result:
    """Learn, then watch for `minutes`. `fleet` is not started yet; it stays for the caller."""
    began_s = time.monotonic()
    begin_s = time.time() - PAST_DAYS * DAY_S
    end_s = time.time() + TRAIN_TIMEOUT_S + minutes * 60 + DAY_S
    rng = np.random.default_rng(seed)
    hosts = [host.name for host in fleet.lab.hosts]
    shift_s = float(rng.integers(0, DAY_S // SLOT_S) * SLOT_S)
    offsets = {
        host: [(shift_s + DAY_S / 3 * k + 60.0 * i) % DAY_S for k in range(3)]
        for i, host in enumerate(hosts)
    }
    by_day = {host: day_starts(begin_s, end_s, sorted(offsets[host])) for host in hosts}
    events = event_starts(begin_s, end_s, [s for starts in by_day.values() for s in starts], rng)
    config = _configured(fleet, events)
    troupes = [_booted(fleet, host, by_day[host], events, report) for host in hosts]
    stopped = threading.Event()
    player = threading.Thread(target=_play, args=(troupes, stopped), daemon=True)
    player.start()
    try:
        state = fleet.state_dir / "controller"
        history = ParquetHistory(state / "history", SLOT_S)
        report("writing the past of sixty VMs")
        _append(history, rollups(crowd(begin_s, end_s, events, seed), begin_s, time.time(), seed))
        report("learning from it")
        model = _trained(config, state, seed)
        told = [actor for troupe in troupes for actor in troupe.actors]
        _append(history, rollups(told, begin_s, time.time(), seed + 1))
        history.tidy(int(time.time() - 2 * SLOT_S), 0)
        fleet.start("observe", report)
        seen = _watched(fleet, troupes, minutes, report)
    finally:
        stopped.set()
        player.join(10)
        for troupe in troupes:
            for guest in troupe.guests:
                guest.destroy()
    found, false_alarms = _judged(troupes, seen)
    detail: dict[str, Any] = {"model": model, "bursts": [asdict(each) for each in found]}
    return Result(
        name="lab.bursts",
        seed=seed,
        seconds=time.monotonic() - began_s,
        metrics=_metrics([f.lead_s for f in found], found) | {"false_alarms": float(false_alarms)},
        baselines={"present score": _metrics([f.present_lead_s for f in found], found)},
        detail=detail,
    )


def _configured(fleet: Fleet, events: Sequence[float]) -> Path:
    """Controller's settings: fast motion, and the events that are known ahead."""

    def instant(at_s: float) -> str:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    lines = [
        "[forecast]",
        f"slot_s = {SLOT_S}",
        "grace_s = 1.0",
        f"context_hours = {PAST_DAYS * DAY_S / 3600}",
        f"horizons_s = [{SLOT_S}, {AHEAD_S:g}]",
        f"windows_s = [{AHEAD_S:g}]",
        "retrain = false",
    ]
    for start_s in events:
        lines += [
            "[[forecast.events]]",
            f"start = {instant(start_s)}",
            f"end = {instant(start_s + BURST_S)}",
            'name = "run"',
        ]
    fleet.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = fleet.state_dir / "bursts.toml"
    path.write_text("\n".join(lines) + "\n")
    fleet.config_file = path
    return path


def _booted(
    fleet: Fleet,
    host: str,
    by_day: tuple[float, ...],
    events: tuple[float, ...],
    report: Report,
) -> Troupe:
    """A victim and two aggressors, all on one core of the host."""
    number = [h.name for h in fleet.lab.hosts].index(host)
    cpus = fleet.lab.hosts[number].cpus
    core = cpus[number % len(cpus)]
    plans = {
        f"victim{number}": (Habit.STEADY, VICTIM_CORES, ()),
        f"daily{number}": (Habit.DIURNAL, IDLE_CORES, by_day),
        f"event{number}": (Habit.EVENT, IDLE_CORES, events),
    }
    guests, actors = [], []
    for name, (habit, base, starts) in plans.items():
        report(f"booting {name} on {host}")
        spec = GuestSpec(cpu_pct=round(100 * base), pins=((core,),))
        guest = fleet.lab.start_guest(host, name, spec)
        guests.append(guest)
        actors.append(Actor(guest.uuid, habit, base, BURST_CORES if starts else base, starts))
    return Troupe(host, guests[0], tuple(guests), tuple(actors))


def _play(troupes: Sequence[Troupe], stopped: threading.Event) -> None:
    """Sets each guest to what its part says, until told to stop; one too busy is asked again."""
    done: dict[str, float] = {}
    while not stopped.wait(0.2):
        now_s = np.array([time.time()])
        for troupe in troupes:
            for guest, actor in zip(troupe.guests, troupe.actors, strict=True):
                wanted = float(actor.wants(now_s)[0])
                if done.get(guest.name) != wanted:
                    try:
                        guest.set_load(cpu=round(100 * wanted))
                    except LabError:
                        continue
                    done[guest.name] = wanted


def _append(history: ParquetHistory, told: Any) -> None:
    rollup: RollUp
    for rollup in told:
        history.append(rollup)


def _trained(config: Path, state: Path, seed: int) -> str:
    """`evenkeel train`, as an operator would; which model serves then. Raises LabError."""
    log = state / "train.log"
    argv = [sys.executable, "-m", "evenkeel", "train", "--resource", "cpu", "--model", "blend"]
    argv += ["--history", str(state / "history"), "--models", str(state / "models")]
    argv += ["--slot-s", str(SLOT_S), "--seed", str(seed), "--config", str(config), "--json"]
    with log.open("wb") as out:
        code = subprocess.run(
            argv, stdout=out, stderr=subprocess.STDOUT, timeout=TRAIN_TIMEOUT_S, check=False
        ).returncode
    if code:
        raise LabError(f"training failed: {tail(log)}")
    return log.read_text()[-2000:]


def _watched(
    fleet: Fleet, troupes: Sequence[Troupe], minutes: float, report: Report
) -> dict[str, Series]:
    """By host: `ahead:ID` and `present:ID` scores of an aggressor, `loss` of the victim."""
    seen: dict[str, Series] = {troupe.host: defaultdict(list) for troupe in troupes}
    began_s = time.time()
    end_s = began_s + minutes * 60
    while time.time() < end_s:
        report(f"{(end_s - time.time()) / 60:.1f} minutes left")
        for troupe in troupes:
            series, victim = seen[troupe.host], troupe.victim.uuid
            for name, horizon_s in (("present", None), ("ahead", AHEAD_S)):
                query: dict[str, Any] = {"host": troupe.host, "min_score": 1, "limit": 100}
                if horizon_s is not None:
                    query["horizon_s"] = horizon_s
                pairs = fleet.get("/v1/pairs", **query)["items"]
                scores = {p["aggressor"]: p["score"] for p in pairs if p["victim"] == victim}
                for actor in troupe.actors[1:]:
                    point = (time.time(), float(scores.get(actor.name, 0.0)))
                    series[f"{name}:{actor.name}"].append(point)
        time.sleep(1.0)
    for troupe in troupes:
        path = f"/v1/vms/{troupe.victim.uuid}/series"
        told = fleet.get(path, resource="cpu", since_s=began_s, max_points=MAX_POINTS)
        seen[troupe.host]["loss"] = [
            (at_s, loss) for at_s, loss in zip(told["at_s"], told["loss"], strict=True) if loss
        ]
    return seen


def _judged(troupes: Sequence[Troupe], seen: dict[str, Series]) -> tuple[list[Foreseen], int]:
    """Every burst that lay wholly in the time watched; and alarms ahead that nothing followed."""
    found: list[Foreseen] = []
    false_alarms = 0
    for troupe in troupes:
        series = seen[troupe.host]
        for actor in troupe.actors[1:]:
            ahead, present = series[f"ahead:{actor.name}"], series[f"present:{actor.name}"]
            for start_s in actor.starts_s:
                if ahead[0][0] + LOOK_BACK_S <= start_s <= ahead[-1][0] - BURST_S:
                    each = judged(
                        troupe.host,
                        actor.habit,
                        start_s,
                        series["loss"],
                        ahead,
                        present,
                        ALARM,
                        LOOK_BACK_S,
                    )
                    found += [each] if each else []
            false_alarms += _unfounded(ahead, actor.starts_s)
    return sorted(found, key=lambda f: f.start_s), false_alarms


def _unfounded(ahead: Sequence[tuple[float, float]], starts_s: Sequence[float]) -> int:
    """Times that the score rose above the threshold with no burst on or within the horizon."""
    rises = [b[0] for a, b in pairwise(ahead) if a[1] < ALARM <= b[1]]
    slack_s = 2 * TICK_S + SLOT_S

    def is_founded(at_s: float) -> bool:
        return any(s - AHEAD_S - slack_s <= at_s <= s + BURST_S + slack_s for s in starts_s)

    return sum(not is_founded(at_s) for at_s in rises)


def _metrics(leads: Sequence[float | None], found: Sequence[Foreseen]) -> dict[str, float]:
    """Share foreseen, of all and by habit, and the distribution of lead times (s)."""
    out = {"bursts": float(len(leads))}
    for habit in (Habit.DIURNAL, Habit.EVENT):
        of_habit = [x for x, f in zip(leads, found, strict=True) if f.habit is habit]
        if of_habit:
            out[f"foreseen.{habit}"] = sum(x is not None and x > 0 for x in of_habit) / len(
                of_habit
            )
    if leads:
        out["foreseen"] = sum(x is not None and x > 0 for x in leads) / len(leads)
    known = [x for x in leads if x is not None]
    if known:
        for name, q in (("p10", 0.1), ("median", 0.5), ("p90", 0.9)):
            out[f"lead_s.{name}"] = float(np.quantile(known, q))
    return {name: round(value, 3) for name, value in out.items()}
