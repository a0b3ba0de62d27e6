"""Foresight: it has what the controller says serves, or something that works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import a_host, a_vm
from tests.batches import ManualClock
from tests.short_data import kept, random_weights, serving

from evenkeel.adapters.disk.models import FileModelMemory
from evenkeel.agent.foresight import RETRY_S, Foresight
from evenkeel.domain.errors import ControllerUnavailable, Forbidden, ModelsUnavailable
from evenkeel.domain.resources import N_RESOURCES, Resource
from evenkeel.domain.sample import HostTick
from evenkeel.forecast.short import BUILT_IN, ShortWindow
from evenkeel.sim.memory import MemoryModels
from evenkeel.wire import ServingModel

ONE, TWO = (kept(random_weights(seed).save(), f"cpu-{seed}") for seed in (1, 2))
RNG = np.random.default_rng(4)
DEMAND = RNG.gamma(2, 1, (40, 2, N_RESOURCES))


class Source:
    """The controller's end: models by id, and how often it was asked."""

    def __init__(self, *models) -> None:
        self.models = {model.id: model.blob for model in models}
        self.asked, self.error = [], None

    def __call__(self, model_id: str) -> bytes:
        self.asked.append(model_id)
        if self.error:
            raise self.error
        return self.models[model_id]


def a_tick(demand, interval_s: float = 5.0) -> HostTick:
    zero = np.zeros_like(demand)
    return HostTick(
        host=a_host(),
        taken_at_s=1.0,
        interval_s=interval_s,
        vms=(a_vm("a"), a_vm("b")),
        demand=demand,
        usage=demand,
        loss=zero,
        self_limited=zero,
        background=np.zeros(N_RESOURCES),
        flaws=(frozenset(),) * 2,
    )


def made(memory=None, tick_s: float = 5.0) -> tuple[Foresight, ManualClock]:
    clock = ManualClock()
    return Foresight(memory or MemoryModels(), clock, tick_s), clock


def kinds(foresight: Foresight) -> list[str]:
    return [kind for kind, _, _ in foresight.news()]


def models(foresight: Foresight) -> tuple[str, ...]:
    return foresight.observe(a_tick(DEMAND[0])).models


def test_every_tick_has_forecasts_of_all_vms_by_the_models_that_serve() -> None:
    foresight, _ = made()
    window = ShortWindow(N_RESOURCES)
    for k, demand in enumerate(DEMAND):
        if k == 20:
            foresight.follow((serving(ONE),), Source(ONE))
        window.observe(("id-a", "id-b"), demand)
        ahead = foresight.observe(a_tick(demand))
        weights = [BUILT_IN] * 4 if k < 20 else [random_weights(1), *[BUILT_IN] * 3]
        np.testing.assert_array_equal(ahead.quantiles, window.forecast(weights))
        assert ahead.horizons_s == (5.0, 10.0, 15.0, 30.0, 60.0)
        assert ahead.models == ("built-in" if k < 20 else "cpu-1", *["built-in"] * 3)
    assert kinds(foresight) == ["short_model_changed"]
    assert kinds(foresight) == []


def test_a_lost_tick_leaves_a_hole() -> None:
    foresight, _ = made()
    window = ShortWindow(N_RESOURCES)
    for k, demand in enumerate(DEMAND[:30]):
        lost = 2 if k == 15 else 0
        for _ in range(lost):
            window.observe(("id-a", "id-b"), np.full_like(demand, np.nan))
        window.observe(("id-a", "id-b"), demand)
        ahead = foresight.observe(a_tick(demand, 5.1 * (lost + 1)))
    np.testing.assert_array_equal(ahead.quantiles, window.forecast())


def test_a_model_is_fetched_when_it_changed_and_not_again() -> None:
    memory, source = MemoryModels(), Source(ONE, TWO)
    foresight, _ = made(memory)
    for want in (ONE, ONE, TWO, TWO):
        foresight.follow((serving(want),), source)
    assert source.asked == ["cpu-1", "cpu-2"]
    assert memory.load(Resource.CPU) == TWO
    again, _ = made(memory)
    again.follow((serving(TWO),), source)
    assert source.asked == ["cpu-1", "cpu-2"], "it was on the disk"
    assert models(again)[0] == "cpu-2"
    again.follow((), source)
    assert models(again)[0] == "built-in"
    assert memory.load(Resource.CPU) is None


def test_what_an_older_or_newer_controller_says_is_understood() -> None:
    foresight, _ = made()
    source = Source(ONE)
    foresight.follow((serving(ONE), ServingModel("llc", "llc-1", "0" * 64)), source)
    foresight.follow(None, source)
    assert source.asked == ["cpu-1"]
    assert models(foresight)[0] == "cpu-1"


@pytest.mark.parametrize(
    "error", [ControllerUnavailable("away"), Forbidden("retired"), RuntimeError("a bug")]
)
def test_what_cannot_be_had_is_asked_for_once_a_minute_and_told_once(error) -> None:
    foresight, clock = made()
    source = Source(ONE, TWO)
    foresight.follow((serving(ONE),), source)
    source.error = error
    for _ in range(30):
        foresight.follow((serving(TWO),), source)
        clock.now_s += 5
    assert len(source.asked) == 1 + 3
    assert models(foresight)[0] == "cpu-1", "the former one goes on"
    source.error = None
    clock.now_s += RETRY_S
    foresight.follow((serving(TWO),), source)
    assert models(foresight)[0] == "cpu-2"
    assert kinds(foresight) == [
        "short_model_changed",
        "short_model_unavailable",
        "short_model_changed",
    ]


def test_what_came_damaged_is_asked_for_again() -> None:
    foresight, clock = made()
    source = Source(ONE)
    source.models["cpu-1"] = ONE.blob[:-1]
    foresight.follow((serving(ONE),), source)
    assert models(foresight)[0] == "built-in"
    source.models["cpu-1"] = ONE.blob
    clock.now_s += RETRY_S
    foresight.follow((serving(ONE),), source)
    assert models(foresight)[0] == "cpu-1"


@pytest.mark.parametrize(
    "blob", [b"{}", ONE.blob.replace(b'"format":1', b'"format":2'), random_weights(1, 60.0).save()]
)
def test_a_model_that_is_not_for_this_agent_is_refused_for_good(blob: bytes) -> None:
    memory, strange = MemoryModels(), kept(blob, "strange")
    foresight, clock = made(memory)
    source = Source(strange)
    for _ in range(30):
        foresight.follow((serving(strange),), source)
        clock.now_s += 5
    assert source.asked == ["strange"]
    assert kinds(foresight) == ["short_model_refused"]
    assert models(foresight)[0] == "built-in"
    assert memory.load(Resource.CPU) is None


def test_a_damaged_file_means_the_built_in_rule_until_it_is_fetched_again(tmp_path: Path) -> None:
    memory, source = FileModelMemory(tmp_path), Source(ONE)
    made(memory)[0].follow((serving(ONE),), source)
    (tmp_path / "cpu.model").write_bytes(b"rubbish")
    foresight, _ = made(memory)
    for _ in range(3):
        assert models(foresight)[0] == "built-in"
    assert kinds(foresight) == ["short_model_damaged"]
    foresight.follow((serving(ONE),), source)
    assert models(foresight)[0] == "cpu-1"
    assert kinds(foresight) == ["short_model_changed"]
    assert models(made(memory)[0])[0] == "cpu-1"


def test_a_file_that_is_whole_but_no_model_means_the_same(tmp_path: Path) -> None:
    memory = FileModelMemory(tmp_path)
    memory.save(Resource.CPU, kept(b"{}"))
    foresight, _ = made(memory)
    assert models(foresight)[0] == "built-in"
    assert kinds(foresight) == ["short_model_damaged"]


def test_a_model_that_cannot_be_kept_serves_until_the_restart() -> None:
    memory = MemoryModels()

    def full(*_):
        raise ModelsUnavailable("no space left")

    memory.save = full
    foresight, _ = made(memory)
    foresight.follow((serving(ONE),), Source(ONE))
    assert models(foresight)[0] == "cpu-1"
    assert models(made(memory)[0])[0] == "built-in"


class Killed(BaseException):
    pass


def test_killed_while_it_fetches_it_starts_with_the_former_model(tmp_path: Path) -> None:
    source = Source(ONE, TWO)
    foresight, _ = made(FileModelMemory(tmp_path))
    foresight.follow((serving(ONE),), source)
    source.error = Killed()
    with pytest.raises(Killed):
        foresight.follow((serving(TWO),), source)
    source.error = None
    again, _ = made(FileModelMemory(tmp_path))
    assert models(again)[0] == "cpu-1"
    again.follow((serving(TWO),), source)
    assert models(again)[0] == "cpu-2"
