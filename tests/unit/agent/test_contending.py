"""The agent's maps: traits learnt before the next prediction, kept, and a minute seen ahead."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.adapters.disk.traits import FileTraitKeeper
from evenkeel.agent.contending import SAVE_EVERY_S, Contending
from evenkeel.domain.errors import ModelsUnavailable
from evenkeel.domain.quantiles import N_QUANTILES
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import Ahead, HostTick
from evenkeel.interference.contention import score_host
from evenkeel.interference.window import Window
from evenkeel.sim.memory import MemoryTraits

VICTIM, NOISY = a_vm("victim", [0]), a_vm("noisy", [0])
VMS = [VICTIM, NOISY]
HORIZONS_S = (5.0, 60.0)


def like_now(tick: HostTick, cpu_in_a_minute: dict[int, float] | None = None) -> Ahead:
    """Demand stays as it is, but for those named."""
    shape = (len(tick.vms), N_RESOURCES, len(HORIZONS_S), N_QUANTILES)
    quantiles = np.broadcast_to(tick.demand[:, :, None, None], shape).astype(np.float32)
    for vm, cores in (cpu_in_a_minute or {}).items():
        quantiles[vm, CPU_AXIS, 1] = cores
    return Ahead(HORIZONS_S, quantiles, ("test",) * N_RESOURCES)


def colliding(n: int, loss: float) -> list[HostTick]:
    return [a_tick(5.0 * i, VMS, [0.6, 0.6], [loss, loss]) for i in range(n)]


def lived(contending: Contending, ticks: list[HostTick]) -> Window:
    window = a_window([])
    for tick in ticks:
        window = window.append(tick)
        contending.observe(window, tick, like_now(tick))
    return window


def test_what_is_measured_again_and_again_is_predicted() -> None:
    contending = Contending(MemoryTraits(), 7.5)
    window = lived(contending, colliding(40, 0.45))
    tick = colliding(41, 0.45)[-1]
    now, soon = contending.observe(window.append(tick), tick, like_now(tick))
    plain = score_host(window, a_host(), 7.5)
    assert plain.predicted[CPU_AXIS, 0] == pytest.approx(0.3, abs=0.01)
    assert now.predicted[CPU_AXIS, 0] == pytest.approx(0.45, abs=0.02)
    assert (now.horizon_s, soon.horizon_s) == (5.0, 60.0)
    # Demand stays, and of the traits only the mood of the moment passes.
    assert 0.35 < soon.predicted[CPU_AXIS, 0] < now.predicted[CPU_AXIS, 0] + 1e-9


def test_a_collision_that_the_forecast_foresees_is_scored_before_it_is_there() -> None:
    contending = Contending(MemoryTraits(), 7.5)
    calm = [a_tick(5.0 * i, VMS, [0.9, 0.02]) for i in range(24)]
    window = lived(contending, calm[:-1]).append(calm[-1])
    now, soon = contending.observe(window, calm[-1], like_now(calm[-1], {1: 1.0}))
    assert now.pairs(5.0) == ()
    worst = soon.pairs()[0]
    assert (worst.victim, worst.aggressor, worst.horizon_s) == (VICTIM.id, NOISY.id, 60.0)
    assert worst.score > 20


def test_the_same_ticks_give_the_same_maps() -> None:
    def scores() -> bytes:
        contending = Contending(MemoryTraits(), 7.5)
        window = lived(contending, colliding(20, 0.4))
        now, soon = contending.observe(window, colliding(20, 0.4)[-1], like_now(colliding(1, 0)[0]))
        return hashlib.sha256(now.score.tobytes() + soon.score.tobytes()).digest()

    assert scores() == scores()


def test_what_was_learnt_outlives_the_agent(tmp_path: Path) -> None:
    keeper = FileTraitKeeper(tmp_path / "traits.npz")
    first = Contending(keeper, 7.5)
    window = lived(first, colliding(60, 0.45))
    first.save()
    again = Contending(FileTraitKeeper(tmp_path / "traits.npz"), 7.5)
    tick = colliding(61, np.nan)[-1]
    now, _ = again.observe(window.append(tick), tick, like_now(tick))
    assert now.predicted[CPU_AXIS, 0] > 0.36
    assert list(again.news()) == []


def test_it_is_saved_every_few_minutes() -> None:
    keeper = MemoryTraits()
    lived(Contending(keeper, 7.5), colliding(int(SAVE_EVERY_S / 5.0) - 1, 0.4))
    assert keeper.blob is None
    lived(Contending(keeper, 7.5), colliding(int(SAVE_EVERY_S / 5.0), 0.4))
    assert keeper.blob


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_traits_are_one_again_and_that_is_said(
    tmp_path: Path, damage: bytes | None
) -> None:
    path = tmp_path / "traits.npz"
    first = Contending(FileTraitKeeper(path), 7.5)
    window = lived(first, colliding(60, 0.45))
    first.save()
    path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    again = Contending(FileTraitKeeper(path), 7.5)
    assert [kind for kind, _, _ in again.news()] == ["traits_damaged"]
    tick = colliding(61, np.nan)[-1]
    now, _ = again.observe(window.append(tick), tick, like_now(tick))
    np.testing.assert_allclose(
        now.score, score_host(window.append(tick), a_host(), 7.5).score, atol=1e-9
    )


class _Full(MemoryTraits):
    def save(self, blob: bytes) -> None:
        raise ModelsUnavailable("no space left")


def test_a_full_disk_is_said_once() -> None:
    contending = Contending(_Full(), 7.5)
    contending.save()
    contending.save()
    assert [kind for kind, _, _ in contending.news()] == ["traits_not_saved"]


def test_a_host_of_which_nothing_is_known_and_one_without_vms_score_without_error() -> None:
    contending = Contending(MemoryTraits(), 7.5)
    unknown = a_host(0, memory_mib=0.0)
    tick = a_tick(0.0, VMS, [1.0, 1.0], [0.3, 0.3], host=unknown)
    now, soon = contending.observe(a_window([tick]), tick, like_now(tick))
    assert now.predicted[CPU_AXIS].tolist() == [0.3, 0.3], "what was measured goes on"
    assert soon.predicted[CPU_AXIS] == pytest.approx([0.3, 0.3])
    empty = a_tick(5.0, [], [])
    now, soon = contending.observe(a_window([empty]), empty, like_now(empty))
    assert (now.pairs(0), soon.pairs(0)) == ((), ())
