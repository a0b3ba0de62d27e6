"""Evidence: it adds up, spares the idle and the absent, doubts twins, and hears experiments."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from batches import a_batch
from evenkeel.domain.resources import CPU_AXIS, Resource
from evenkeel.interference.attribution import TRACE, Pressing, pressing
from evenkeel.interference.contention import score_host
from evenkeel.interference.counterfactual import SharedCores, effects
from evenkeel.interference.evidence import unexplained
from evenkeel.interference.testimony import witnessed
from evenkeel.wire import decode_batch, encode

VICTIM, ONE, TWO = a_vm("victim", [0]), a_vm("one", [0]), a_vm("two", [0])
ELSEWHERE, IDLE = a_vm("elsewhere", [1]), a_vm("idle", [0])
VMS = [VICTIM, ONE, TWO, ELSEWHERE, IDLE]
AT = {vm.name: i for i, vm in enumerate(VMS)}
HOST, ITSELF, NOBODY = len(VMS), len(VMS) + 1, len(VMS) + 2


def scored(loud, loss, findings=None, n=6, vms=VMS, background=0.0):
    """Two calm minutes, then `n` ticks in which the VMs want `loud` and lose `loss`."""
    calm = [a_tick(5.0 * i, vms, [0.6, 0.05, 0.05, 0.05, 0.0]) for i in range(24)]
    ticks = [a_tick(120.0 + 5.0 * i, vms, loud, loss, background=background) for i in range(n)]
    return score_host(a_window(calm + ticks), a_host(), 7.5, findings=findings)


def culprits(found, victim="victim"):
    return found.evidence.culprit[CPU_AXIS, AT[victim]]


def test_parts_add_up_to_the_measured_loss():
    found = scored([0.6, 0.8, 0.4, 0.9, 0.0], [0.4, 0.4, 0.3, 0, 0])
    parts = found.evidence.attributed.sum(axis=2)
    np.testing.assert_allclose(parts, found.measured, atol=1e-12)
    assert found.measured[CPU_AXIS, 0] > 0.3


def test_no_part_for_the_idle_nor_for_whoever_shares_no_core():
    found = scored([0.6, 0.8, 0.4, 0.9, 0.0], [0.4, 0.4, 0.3, 0, 0])
    for name in ("elsewhere", "idle"):
        assert found.evidence.attributed[CPU_AXIS, 0, AT[name]] == 0
        assert culprits(found)[AT[name]] == 0


def test_an_innocent_that_correlates_perfectly_is_never_named():
    """It shares no core: its load follows the victim's loss exactly, the culprit's not so well."""
    rng = np.random.default_rng(1)
    ticks = []
    for i in range(36):
        loss = 0.0 if i < 24 else float(rng.uniform(0.2, 0.4))
        loud = 0.05 if i < 24 else 0.8 + float(rng.uniform(-0.1, 0.1))
        cpu = [0.6, loud, 0.05, 2.0 * loss + 0.01, 0.0]
        ticks.append(a_tick(5.0 * i, VMS, cpu, [loss, 0.3 * (i >= 24), 0, 0, 0]))
    window = a_window(ticks)
    load, loss = window.demand[:, AT["elsewhere"], 0], window.loss[:, 0, 0]
    assert np.corrcoef(load, loss)[0, 1] > 0.999
    found = score_host(window, a_host(), 7.5)
    assert culprits(found)[AT["elsewhere"]] == 0
    assert culprits(found).argmax() == AT["one"]
    assert culprits(found)[AT["one"]] > 0.8


def test_twins_get_the_same_and_nobody_is_sure():
    found = scored([0.6, 0.6, 0.6, 0, 0.0], [0.5, 0.5, 0.5, 0, 0])
    parts = found.evidence.attributed[CPU_AXIS, 0]
    assert parts[AT["one"]] == pytest.approx(parts[AT["two"]], abs=1e-12)
    assert 0.4 < culprits(found)[AT["one"]] < 0.55
    alone = scored([0.6, 0.6, 0.05, 0, 0.0], [0.35, 0.35, 0.1, 0, 0])
    assert culprits(alone)[AT["one"]] > 0.9


def test_a_little_more_loss_changes_the_parts_a_little():
    before = scored([0.6, 0.8, 0.4, 0, 0.0], [0.4, 0.4, 0.3, 0, 0]).evidence
    after = scored([0.6, 0.8, 0.4, 0, 0.0], [0.4001, 0.4, 0.3, 0, 0]).evidence
    assert np.abs(after.attributed - before.attributed).max() < 0.001
    assert np.abs(after.culprit - before.culprit).max() < 0.005


def test_its_own_surge_and_the_host_are_culprits_too():
    itself = scored([1.0, 0.3, 0.05, 0, 0], [0.2, 0.1, 0, 0, 0], vms=VMS)
    assert culprits(itself).argmax() != AT["elsewhere"]
    host = scored([0.6, 0.05, 0.05, 0.05, 0], [0.35, 0, 0, 0, 0], background=1.8)
    assert culprits(host).argmax() == HOST


def test_loss_that_no_physics_explains_is_nobodys():
    """A loss on a core where everybody is calm: no neighbour can have done it."""
    found = scored([0.6, 0.05, 0.05, 0.05, 0.0], [0.5, 0, 0, 0, 0])
    parts = found.evidence.attributed[CPU_AXIS, 0]
    assert parts.argmax() == NOBODY
    assert culprits(found)[: len(VMS)].max() < 0.5


def test_an_experiment_moves_the_blame():
    loud, loss = [0.6, 0.6, 0.6, 0, 0.0], [0.5, 0.5, 0.5, 0, 0]
    cleared = scored(loud, loss, {(VICTIM.id, ONE.id): -3.0})
    assert culprits(cleared)[AT["one"]] < 0.1 < 0.8 < culprits(cleared)[AT["two"]]
    top = cleared.pairs()
    assert next(p.aggressor for p in top if p.victim == VICTIM.id) == TWO.id
    plain = scored(loud, loss)
    np.testing.assert_allclose(
        cleared.score[CPU_AXIS, 0].sum(), plain.score[CPU_AXIS, 0].sum(), rtol=1e-9
    )
    confirmed = scored(loud, loss, {(VICTIM.id, ONE.id): 3.0})
    assert culprits(confirmed)[AT["one"]] > 0.9


def test_a_finding_about_a_vm_that_left_changes_nothing():
    loud, loss = [0.6, 0.6, 0.6, 0, 0.0], [0.5, 0.5, 0.5, 0, 0]
    gone = scored(loud, loss, {(VICTIM.id, replace(ONE, id="gone").id): -3.0})
    assert (gone.score == scored(loud, loss).score).all()


def test_without_the_culprit_physics_expects_next_to_no_loss():
    found = scored([0.6, 0.9, 0.05, 0, 0.0], [0.4, 0.4, 0.1, 0, 0])
    without = found.evidence.without[CPU_AXIS, 0]
    assert without[AT["one"]] < 0.25 * found.predicted[CPU_AXIS, 0]
    assert without[AT["elsewhere"]] == pytest.approx(found.predicted[CPU_AXIS, 0], abs=0.05)


def test_worlds_agree_with_the_physics_of_the_host():
    """Taking all of a lone rival away leaves no loss; as things are it is the queue's."""
    demand = np.array([[0.9, 0.1]])
    cores = SharedCores(
        demand,
        np.zeros(1),
        1.0 - np.eye(2),
        np.full(2, 1024.0),
        np.ones(2),
        np.ones(2),
        1,
    )
    one = np.ones(1)
    usual = np.array([[0.9, 0.0]])
    presses = pressing(
        demand[None], np.zeros((1, 1)), usual, np.ones((1, 2)), one, 0.05, 2 * one, np.nan * one
    ).on(0)
    worlds = effects(cores, presses, 0, np.array([1]))
    assert worlds is not None
    # Two on/off vCPUs that meet 10 % of the time share the core while they do.
    assert -np.expm1(-worlds[0, 0]) == pytest.approx(0.05)
    assert worlds[0, 1] == pytest.approx(0.0, abs=1e-12)


def pressed(demand: float, norm: float, background: float, host_norm: float) -> Pressing:
    """One core that two share half and half; the second is always at what is usual and fair."""
    return pressing(
        demand=np.array([[[demand, 0.3]]]),
        background=np.array([[background]]),
        norm=np.array([[norm, 0.3]]),
        weight=np.ones((1, 2)),
        capacity=np.ones(1),
        idle_below=0.05,
        n_vms=np.array([2.0]),
        host_norm=np.array([host_norm]),
    ).on(0)


@pytest.mark.parametrize(
    ("norm", "presses_with"),
    [(0.2, 0.7), (0.7, 0.4), (0.9, 0.4), (np.nan, 0.4)],
    ids=["more above its norm", "more above its share", "as always", "norm not known"],
)
def test_a_vm_that_surges_over_its_share_is_blamed_once(norm, presses_with):
    """It wants .9 where .5 is fair: of what is above its norm and its share, the larger."""
    vms = pressed(0.9, norm, 0.0, 0.0).vms[0]
    np.testing.assert_allclose(vms, [presses_with + TRACE * 0.9, TRACE * 0.3])


@pytest.mark.parametrize(
    ("host_norm", "presses_with"),
    [(0.1, 0.5), (0.5, 0.6 - 1 / 3), (0.9, 0.6 - 1 / 3), (np.nan, 0.6 - 1 / 3)],
    ids=["more above its norm", "more above its share", "less than usual", "norm not known"],
)
def test_a_host_that_is_busier_than_usual_over_its_share_is_blamed_once(host_norm, presses_with):
    """It takes .6 of a core that it shares with two VMs."""
    assert pressed(0.3, 0.3, 0.6, host_norm).host[0] == pytest.approx(presses_with + TRACE * 0.6)


def test_a_host_that_idles_presses_nobody():
    assert pressed(0.3, 0.3, 0.04, 0.0).host[0] == 0.0 < pressed(0.3, 0.3, 0.06, 0.0).host[0]


def test_loss_inside_a_guest_that_resources_do_not_explain():
    inside = np.array([[0.5, np.nan], [0.5, np.nan]])
    loss = np.zeros((2, 2, 4))
    loss[:, 0, 0] = 0.2
    left = unexplained(inside, loss, np.full(2, 0.5))
    assert left[0] == pytest.approx(1 - 0.5 / 0.8)
    assert np.isnan(left[1])
    loss[:, 0, 0] = 0.6
    assert unexplained(inside, loss, np.full(2, 0.5))[0] == 0.0


def test_what_travels_names_witnesses_and_suspects():
    vms = VMS
    calm = [a_tick(5.0 * i, vms, [0.6, 0.05, 0.05, 0.05, 0.0]) for i in range(24)]
    inside = np.array([0.7, np.nan, np.nan, np.nan, np.nan])
    loud = [
        replace(
            a_tick(120.0 + 5 * i, vms, [0.6, 0.9, 0.05, 0, 0], [0.4, 0.4, 0.1, 0, 0]),
            inside_loss=inside,
        )
        for i in range(6)
    ]
    window = a_window(calm + loud)
    worst = witnessed(score_host(window, a_host(), 7.5), window, ())[0]
    assert (worst.victim, worst.resource) == (VICTIM.id, Resource.CPU)
    assert worst.suspects[0].who == ONE.id
    assert sum(s.attributed_loss for s in worst.suspects) <= worst.measured_loss + 1e-3
    seen = worst.witnesses
    assert (seen.cpu, seen.inside, seen.unexplained) == (0.4, 0.7, pytest.approx(0.5, abs=1e-3))
    assert decode_batch(encode(a_batch(evidence=(worst,)))).evidence == (worst,)


def test_a_batch_of_an_agent_that_knows_no_evidence_is_read():
    raw = json.loads(encode(a_batch()))
    del raw["evidence"]
    assert decode_batch(json.dumps(raw).encode()).evidence == ()
