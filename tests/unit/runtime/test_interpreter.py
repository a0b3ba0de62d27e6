"""A service's pauses are short."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from evenkeel.runtime.interpreter import SWITCH_S, settle


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    switch_s, threshold = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(switch_s)
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_threads_switch_soon_and_what_stays_is_not_gone_through_again() -> None:
    settle()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects()) < gc.get_freeze_count()
