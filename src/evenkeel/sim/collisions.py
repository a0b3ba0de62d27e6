"""Staged collisions on one host, and who is really to blame: found by taking each suspect away.

Every case has a victim and some who may be the cause: neighbours on its cores, bystanders that do
the same at the same time elsewhere, the host's own load, the victim's own surge. The world is run
again with each of them kept calm; the one without whom the victim loses least is the culprit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.ids import HOST_ITSELF, HostId, VmId
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import TINY, HostSpec
from evenkeel.sim.vm import VmSpec, Work
from evenkeel.sim.workload import NOTHING, Noisy, Onset, SquareWave, Steady, Workload

TICK_S: Final = 5.0
ONSET_S: Final = 125.0
JUDGED_S: Final = 45.0
TIE: Final = 0.02
"""Suspects whose effects differ by less (of the victim's demand) are equally guilty."""
VICTIM: Final = "victim"
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Player:
    """A VM, what it wants on a calm day and what it does in the collision."""

    name: str
    calm: Workload
    loud: Workload | None = None
    cpus: tuple[int, ...] = (0,)
    n_vcpus: int = 1
    at_s: float = ONSET_S


@dataclass(frozen=True, slots=True)
class Collision:
    """`host_loud`: what the host itself wants from the onset on, in cores."""

    case: str
    seed: int
    players: tuple[Player, ...]
    n_cpus: int = 4
    host_loud: Workload = NOTHING

    def stage(self, calmed: str = "") -> tuple[SimFleet, HostId, dict[str, VmId]]:
        """The fleet, its host and the VMs' ids by name; `calmed` does nothing unusual."""
        fleet = SimFleet(self.seed)
        background: Workload = NOTHING
        if self.host_loud is not NOTHING and calmed != HOST_ITSELF:
            background = Onset(NOTHING, self.host_loud, ONSET_S)
        cpus = tuple(range(self.n_cpus))
        host = fleet.add_host(HostSpec("h1", cpus=cpus, background=background))
        ids: dict[str, VmId] = {}
        for player in self.players:
            cpu = player.calm
            if player.loud is not None and player.name != calmed:
                cpu = Onset(player.calm, player.loud, player.at_s)
            spec = VmSpec(
                player.name,
                n_vcpus=player.n_vcpus,
                cpu=cpu,
                vcpu_pins=(player.cpus,) * player.n_vcpus,
            )
            ids[player.name] = fleet.add_vm(host, spec)
        return fleet, host, ids

    def served(self, calmed: str = "") -> Work:
        """What the victim wanted and got in the time judged."""
        fleet, _, ids = self.stage(calmed)
        fleet.advance(ONSET_S)
        before = fleet.work(ids[VICTIM])
        fleet.advance(JUDGED_S)
        return fleet.work(ids[VICTIM]) - before

    def culprits(self) -> tuple[str, ...]:
        """The names without whose doings the victim loses least, all that are equals.

        A loss is in cores, as a share of what it wants as things are: a victim that wants more
        than ever beside a neighbour as busy as always loses the same share of more.
        `HOST_ITSELF` for the host; empty where nobody made the victim lose anything.
        """
        loud = [p.name for p in self.players if p.loud is not None]
        loud += [HOST_ITSELF] if self.host_loud is not NOTHING else []
        whole = self.served()
        wanted = max(whole.wanted_core_s, TINY)
        effect = {
            name: (whole.lost_core_s - self.served(name).lost_core_s) / wanted for name in loud
        }
        most = max(effect.values(), default=0.0)
        return tuple(sorted(n for n, e in effect.items() if e > most - TIE and most >= TIE))


def collision(case: str, seed: int) -> Collision:
    """One of `CASES`; everything about it is drawn from the seed."""
    rng = np.random.default_rng([seed, *case.encode()])
    staged = replace(CASES[case](rng), case=case, seed=seed)
    order = rng.permutation(len(staged.players))
    return replace(staged, players=tuple(staged.players[i] for i in order))


def _busy(rng: Rng, low: float, high: float, spread: float = 0.1) -> Workload:
    return Noisy(Steady(float(rng.uniform(low, high))), spread, int(rng.integers(2**31)))


def _victim(rng: Rng) -> Player:
    return Player(VICTIM, _busy(rng, 0.45, 0.8))


def _calm_rivals(rng: Rng, n: int) -> list[Player]:
    return [Player(f"calm{k}", _busy(rng, 0.01, 0.12)) for k in range(n)]


def _loud(rng: Rng, name: str, low: float = 0.5, high: float = 1.0) -> Player:
    return Player(name, _busy(rng, 0.01, 0.12), _busy(rng, low, high))


def _one(rng: Rng) -> Collision:
    """One of one to five neighbours on the victim's core turns loud."""
    calm = _calm_rivals(rng, int(rng.integers(5)))
    return Collision("", 0, (_victim(rng), _loud(rng, "loud"), *calm))


def _bystander(rng: Rng) -> Collision:
    """Another VM does exactly the same, and more of it, on another core."""
    loud = _loud(rng, "loud", 0.5, 0.8)
    assert loud.loud is not None
    twice = replace(loud, name="bystander", cpus=(1, 2), n_vcpus=2, loud=_twice(loud.loud))
    return Collision("", 0, (_victim(rng), loud, twice, *_calm_rivals(rng, 1)))


def _twice(workload: Workload) -> Workload:
    return _Scaled(workload, 2.0)


@dataclass(frozen=True, slots=True)
class _Scaled:
    base: Workload
    factor: float

    def at(self, time_s: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
        return self.base.at(time_s) * self.factor


def _twins(rng: Rng) -> Collision:
    """Two neighbours that start together, doing about the same."""
    level = float(rng.uniform(0.3, 0.7))
    twins = [
        Player(f"twin{k}", _busy(rng, 0.01, 0.12), _busy(rng, 0.8 * level, 1.2 * level))
        for k in range(2)
    ]
    return Collision("", 0, (_victim(rng), *twins, *_calm_rivals(rng, 1)))


def _crowd(rng: Rng) -> Collision:
    """Two to five neighbours start together, each doing more or less."""
    n = int(rng.integers(2, 6))
    return Collision("", 0, (_victim(rng), *(_loud(rng, f"loud{k}", 0.05, 0.7) for k in range(n))))


def _periodic(rng: Rng) -> Collision:
    """An innocent that comes and goes as it always did, and one that turns loud."""
    wave = SquareWave(0.02, float(rng.uniform(0.15, 0.4)), float(rng.uniform(15, 40)), 0.5)
    return Collision("", 0, (_victim(rng), _loud(rng, "loud", 0.3, 0.9), Player("cron", wave)))


def _staggered(rng: Rng) -> Collision:
    """Two turn loud, the second one some time after the first."""
    first = _loud(rng, "first", 0.3, 0.8)
    second = replace(_loud(rng, "second", 0.3, 0.8), at_s=ONSET_S + float(rng.uniform(5, 15)))
    return Collision("", 0, (_victim(rng), first, second, *_calm_rivals(rng, 1)))


def _host(rng: Rng) -> Collision:
    """The host itself gets busy; a neighbour gets a little busier at the same time."""
    level = float(rng.uniform(1.2, 3.5))
    a_little = _loud(rng, "a-little", 0.1, 0.5)
    return Collision("", 0, (_victim(rng), a_little), host_loud=Steady(level))


def _itself(rng: Rng) -> Collision:
    """The victim wants more than ever beside a neighbour that is as busy as always."""
    surge = Player(VICTIM, _busy(rng, 0.1, 0.3), _busy(rng, 0.6, 1.0))
    neighbour = Player("steady", _busy(rng, 0.3, 0.6))
    return Collision("", 0, (surge, neighbour, _loud(rng, "a-little", 0.05, 0.3)))


def _shared(rng: Rng) -> Collision:
    """Six VMs free to run on all of three cores; some turn loud, with one or two vCPUs."""
    cpus = (0, 1, 2)
    players = [replace(_victim(rng), cpus=cpus)]
    for k in range(5):
        n = int(rng.integers(1, 3))
        loud = rng.random() < 0.5 or k == 0
        surge = _busy(rng, 0.4 * n, 1.0 * n) if loud else None
        players.append(Player(f"vm{k}", _busy(rng, 0.05, 0.5), surge, cpus, n))
    return Collision("", 0, tuple(players), n_cpus=3)


CASES: Final[dict[str, Callable[[Rng], Collision]]] = {
    "one": _one,
    "bystander": _bystander,
    "twins": _twins,
    "crowd": _crowd,
    "periodic": _periodic,
    "staggered": _staggered,
    "host": _host,
    "itself": _itself,
    "shared": _shared,
}
