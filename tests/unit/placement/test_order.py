"""Moves in an order that can be done."""

import numpy as np
from plans_made import a_problem

from evenkeel.placement.check import check
from evenkeel.placement.fleet import Move
from evenkeel.placement.order import direct, waves
from evenkeel.placement.packing import Packing
from evenkeel.placement.planned import planned
from evenkeel.placement.towards import move_towards


def test_stopovers_are_taken_out():
    assert direct([Move(0, 1, 2), Move(5, 6, 7), Move(0, 2, 3)]) == [Move(5, 6, 7), Move(0, 1, 3)]
    assert direct([Move(0, 1, 2), Move(0, 2, 1)]) == []
    assert direct([Move(0, 1, 2), Move(0, 2, 3), Move(0, 3, 4)]) == [Move(0, 1, 4)]


def test_but_not_where_somebody_took_the_room():
    moves = [Move(0, 1, 2), Move(9, 3, 1), Move(0, 2, 3)]
    assert direct(moves) == moves
    assert direct([Move(0, 1, 2), Move(0, 2, 3)], keep={0}) == [Move(0, 1, 2), Move(0, 2, 3)]


def test_waves_share_hosts_fairly_and_wait_for_room():
    apart = [Move(0, 0, 1), Move(1, 2, 3)]
    assert waves(apart, 1).tolist() == [0, 0]
    busy = [Move(0, 0, 1), Move(1, 0, 2), Move(2, 0, 3), Move(3, 4, 5)]
    assert waves(busy, 1).tolist() == [0, 1, 2, 0]
    assert waves(busy, 2).tolist() == [0, 0, 1, 0]
    # The second enters where the first left; the third is the second's VM again.
    waits = [Move(0, 1, 2), Move(1, 0, 1), Move(1, 1, 3)]
    assert waves(waits, 9).tolist() == [0, 1, 2]
    assert waves([], 1).tolist() == []


def test_two_full_hosts_exchange_by_way_of_a_third():
    problem = a_problem([0, 1], [[3.0], [2.0]], [[4.0], [4.0], [3.5]])
    packing = Packing(problem)
    assert move_towards(packing, np.array([1, 0])).tolist() == []
    assert len(packing.moves) == 3
    assert check(problem, planned(packing, {})) == ()


def test_without_a_third_both_stay():
    packing = Packing(a_problem([0, 1], [[3.0], [2.0]], [[4.0], [4.0]]))
    assert move_towards(packing, np.array([1, 0])).tolist() == [0, 1]
    assert packing.moves == []
