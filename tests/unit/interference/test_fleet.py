"""The fleet's map says what each host's own agent says, and a candidate what would come true."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_made import made_hosts, made_rows

from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.quantiles import N_QUANTILES, QUANTILES
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES, NET_AXIS
from evenkeel.domain.vm import CpuTuning
from evenkeel.interference.candidate import (
    MOST_VCPUS,
    Candidate,
    candidate,
    share_of_newcomer,
    standing,
)
from evenkeel.interference.contention import score_host
from evenkeel.interference.fleet import FleetRows, FleetShape, score_fleet
from evenkeel.interference.fleet_rows import fleet_rows
from evenkeel.interference.hazards import Traits
from evenkeel.interference.loads import host_loads
from evenkeel.interference.physics import fluid_loss
from evenkeel.interference.rows import Rows, present

TOLERANCE = 2e-4
"""In points of score, of 100: the fleet's arrays are float32."""
FOR_EVER_S = 1e15
"""A half-life by which all rows weigh the same."""


def traits_of(shape: FleetShape, rng: np.random.Generator) -> Traits:
    size = (shape.n_hosts, shape.n_places, N_RESOURCES)
    return Traits(np.exp(rng.normal(0, 0.4, size)), np.exp(rng.normal(0, 0.4, size)))


@pytest.mark.parametrize("neutral", [True, False])
def test_fleet_and_agents_give_the_same_numbers(neutral: bool) -> None:
    rng = np.random.default_rng(11)
    hosts = made_hosts(60, rng)
    each, rows = made_rows(hosts, 5, rng)
    shape = FleetShape.of(hosts, 10)
    rows = FleetRows(
        np.pad(rows.demand, ((0, 0),) * 3 + ((0, 10 - rows.demand.shape[3]),)),
        rows.background,
        np.pad(rows.norm, ((0, 0), (0, 10 - rows.norm.shape[1]), (0, 0))),
        None
        if rows.loss is None
        else np.pad(rows.loss, ((0, 0), (0, 10 - rows.loss.shape[1]), (0, 0))),
    )
    traits = None if neutral else traits_of(shape, rng)
    fleet = score_fleet(shape, rows, traits)
    scored = 0.0
    for h, (host, vms) in enumerate(hosts):
        n = len(vms)
        own = None
        if traits is not None:
            own = Traits(traits.sensitivity[h, :n], traits.pressure[h, :n])
        agent = score_host(each[h], host, FOR_EVER_S, own)
        np.testing.assert_allclose(fleet.score[h, :, :n, :n], agent.score[..., :n], atol=TOLERANCE)
        np.testing.assert_allclose(fleet.host_score[h, :, :n], agent.score[..., n], atol=TOLERANCE)
        np.testing.assert_allclose(fleet.predicted[h, :, :n], agent.predicted, atol=1e-6)
        np.testing.assert_allclose(fleet.probability[h, :, :n], agent.probability, atol=1e-6)
        assert not fleet.score[h, :, n:].any()
        assert not fleet.score[h, :, :, n:].any()
        scored += float(agent.score.sum())
    assert scored > 10_000, "the fleet is meant to be busy"
    assert fleet.pairs.shape == (60, 10, 10, N_RESOURCES)


def test_rows_of_a_forecast_take_every_stratum_of_each_vm_once() -> None:
    levels = np.array(QUANTILES, np.float32)
    quantiles = np.broadcast_to(levels, (2, 3, N_RESOURCES, N_QUANTILES)) * np.float32(10)
    rows = fleet_rows(np.ascontiguousarray(quantiles), np.zeros((2, N_RESOURCES), np.float32), 8)
    wanted = 10 * np.clip((np.arange(8) + 0.5) / 8, QUANTILES[0], QUANTILES[-1])
    np.testing.assert_allclose(np.sort(rows.demand, axis=2)[0, 0, :, 0], wanted, rtol=1e-5)
    assert (rows.demand[0, CPU_AXIS, :, 0] != rows.demand[0, CPU_AXIS, :, 1]).any()


def asked(n_rows: int, vcpus: int, rng: np.random.Generator) -> Candidate:
    demand = rng.random((n_rows, N_RESOURCES)) * np.array([vcpus, 600.0, 80.0, 250.0])
    return Candidate(
        vcpus,
        demand,
        np.array([1024.0, 512.0, 1.0, 1.0]),
        np.ones(N_RESOURCES),
        np.ones(N_RESOURCES),
    )


def joined(rows: Rows, vm: Candidate) -> Rows:
    """The host's rows with the newcomer in the last column."""
    newcomer = replace(
        rows.vms[0],
        n_vcpus=vm.n_vcpus,
        memory_mib=512.0,
        tuning=CpuTuning(((),) * vm.n_vcpus, 1024),
    )
    wider = (len(rows.weights), 1, N_RESOURCES)
    return Rows(
        vms=(*rows.vms, newcomer),
        demand=np.concatenate([rows.demand, vm.demand[:, None]], axis=1),
        held=np.concatenate([rows.held, np.zeros(wider)], axis=1),
        loss=np.zeros((len(rows.weights), len(rows.vms) + 1, N_RESOURCES)),
        background=rows.background,
        weights=rows.weights,
        norm=np.concatenate([rows.norm, np.full((1, N_RESOURCES), np.nan)]),
        host_norm=rows.host_norm,
    )


def lost(rows: Rows, host: object) -> F64:
    """(R, T, N) amounts lost by physics."""
    return np.stack([load.lost[0] for load in host_loads(rows, host)])  # type: ignore[arg-type]


@pytest.mark.parametrize("vcpus", [1, 3])
def test_a_candidate_is_told_what_would_come_true(vcpus: int) -> None:
    """Against placing it on each host and scoring that host anew."""
    rng = np.random.default_rng(7)
    hosts = made_hosts(90, rng)
    each, rows = made_rows(hosts, 6, rng)
    shape, vm = FleetShape.of(hosts), asked(6, vcpus, rng)
    told = candidate(standing(shape, rows), vm)
    errors, harm, said, came = [], [], [], []
    for h, (host, _) in enumerate(hosts):
        if h in shape.pins:
            continue
        alone = present(each[h], FOR_EVER_S)
        alone = replace(alone, loss=np.zeros_like(alone.loss))
        after, before = lost(joined(alone, vm), host), lost(alone, host)
        share = after[..., -1] / vm.demand.T
        known = shape.capacity[h] > 0
        material = after[..., -1] >= np.array([0.05, 64, 1, 10])[:, None]
        errors.append((told.score[h] - 100 * (share * material).mean(axis=1))[known])
        more = (after[..., :-1] - before).sum(axis=2).mean(axis=1)
        theirs = alone.demand.sum(axis=1).mean(axis=0)
        harm.append((told.residents_score[h] - 100 * more / np.maximum(theirs, 1e-9))[known])
        said.append(told.residents_lost[h, CPU_AXIS])
        came.append(more[CPU_AXIS])
        assert np.isnan(told.score[h][~known]).all()
    error, harmed = np.abs(np.concatenate(errors)), np.abs(np.concatenate(harm))
    # On cores the curves take residents of one weight; small hosts and quotas are the worst case.
    assert error.mean() < 0.7
    assert harmed.mean() < 1.5
    assert np.corrcoef(said, came)[0, 1] > 0.95


def test_a_newcomers_share_of_a_fluid_is_the_water_level() -> None:
    rng = np.random.default_rng(1)
    demand, weight = rng.random((40, 6)) * 10, rng.choice([1.0, 4.0], (40, 6))
    capacity = rng.random(40) * 40
    for w in (0.5, 1.0, 8.0):
        got = share_of_newcomer(demand, weight, capacity, np.array([w]))[0]
        wider = np.column_stack([demand, np.full(40, 1e6)])
        weights = np.column_stack([weight, np.full(40, w)])
        expected = 1e6 - fluid_loss(wider, weights, capacity)[:, -1]
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_traits_of_both_sides_count_for_a_candidate() -> None:
    rng = np.random.default_rng(3)
    hosts = made_hosts(40, rng)
    _, rows = made_rows(hosts, 6, rng)
    shape, vm = FleetShape.of(hosts), asked(6, 2, rng)
    size = (shape.n_hosts, shape.n_places, N_RESOURCES)
    pressing = Traits(np.ones(size), np.full(size, 2.0))
    plain, pressed = (
        candidate(standing(shape, rows), vm),
        candidate(standing(shape, rows, pressing), vm),
    )
    hit = plain.score[:, NET_AXIS] > 1
    assert hit.any()
    assert (pressed.score[hit, NET_AXIS] > plain.score[hit, NET_AXIS]).all()
    rude = candidate(standing(shape, rows), replace(vm, pressure=np.full(N_RESOURCES, 2.0)))
    assert np.nansum(rude.residents_lost) > 1.5 * np.nansum(plain.residents_lost)
    np.testing.assert_array_equal(rude.score, plain.score)


def test_a_candidate_too_large_for_the_curves_is_refused() -> None:
    rng = np.random.default_rng(3)
    hosts = made_hosts(3, rng)
    _, rows = made_rows(hosts, 4, rng)
    kept = standing(FleetShape.of(hosts), rows)
    with pytest.raises(InvalidRequest, match="vCPUs"):
        candidate(kept, asked(4, MOST_VCPUS + 1, rng))
