"""A tick that took as long as many leaves in the window what they would have left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import a_tick, a_vm

from evenkeel.interference.window import Window

VMS = [a_vm("a"), a_vm("b")]


def window_of(*ticks, tick_s=5.0):
    """`ticks`: (end, length, demand of a)."""
    window = Window.empty(60.0, tick_s)
    for at_s, interval_s, cpu in ticks:
        window = window.append(
            a_tick(at_s, VMS, [cpu, 0.1], [0.2, 0.0], interval_s=interval_s, background=0.3)
        )
    return window


@pytest.mark.parametrize("long_s", [20.0, 60.0, 110.0])
def test_a_long_tick_is_as_many_short_ones(long_s):
    before = [(5.0 * i, 5.0, 0.4) for i in range(1, 25)]
    end_s = 120.0 + long_s
    short = [(120.0 + 5.0 * i, 5.0, 0.9) for i in range(1, int(long_s / 5) + 1)]
    after = [(end_s + 5.0, 5.0, 0.2), (end_s + 10.0, 5.0, 0.2)]
    one = window_of(*before, (end_s, long_s, 0.9), *after)
    many = window_of(*before, *short, *after)
    for name in ("at_s", "interval_s", "demand", "loss", "background", "slots", "host_slots"):
        np.testing.assert_allclose(getattr(one, name), getattr(many, name), err_msg=name)
    np.testing.assert_allclose(one.norm(), many.norm())
    np.testing.assert_allclose(one.weights(7.5), many.weights(7.5))


def test_ticks_are_never_quite_on_time():
    jittered = window_of((5.1, 5.1, 0.4), (9.9, 4.8, 0.4), (16.8, 6.9, 0.4))
    assert jittered.interval_s.tolist() == [5.1, 4.8, 6.9]


def test_without_a_usual_length_a_tick_is_a_row():
    assert len(window_of((5.0, 5.0, 0.4), (65.0, 60.0, 0.4), tick_s=np.inf).at_s) == 1


def test_other_tunings_free_what_limits_held_back():
    window = window_of((5.0, 5.0, 0.4))
    held = np.ones_like(window.self_limited)
    window = replace(window, self_limited=held)
    tuning = a_vm("a", [1]).tuning
    other = window.tuned({VMS[0].id: tuning})
    assert (other.vms[0].tuning, other.vms[1].tuning) == (tuning, VMS[1].tuning)
    assert (other.self_limited[:, 0] == 0).all()
    assert (other.self_limited[:, 1] == 1).all()
