"""Calls that hang cost their thread and nothing else."""

from __future__ import annotations

import threading

import pytest

from evenkeel.adapters.libvirt.guard import CallGuard, CallHung
from evenkeel.domain.errors import HypervisorTimeout, HypervisorUnavailable


def nothing() -> None:
    pass


def test_a_call_gives_its_result_or_its_error_and_keeps_its_thread() -> None:
    guard = CallGuard(timeout_s=5.0)

    threads = {guard.call("who", threading.get_ident, nothing) for _ in range(5)}
    with pytest.raises(ZeroDivisionError):
        guard.call("divide", lambda: 1 // 0, nothing)
    threads.add(guard.call("who", threading.get_ident, nothing))

    assert len(threads) == 1
    assert threading.get_ident() not in threads
    guard.close()


def test_a_hung_call_is_abandoned_and_the_next_one_works() -> None:
    guard, release, discarded = CallGuard(timeout_s=0.05), threading.Event(), threading.Event()

    with pytest.raises(CallHung) as caught:
        guard.call("hang", lambda: release.wait(10), discarded.set)

    assert isinstance(caught.value, HypervisorTimeout)
    assert guard.n_abandoned == 1
    assert guard.call("add", lambda: 1 + 1, nothing) == 2
    assert not discarded.is_set()
    release.set()
    assert discarded.wait(5), "what the hung call held is given back when it returns"
    guard.close()


def test_too_many_hung_calls_are_refused_until_one_returns() -> None:
    guard = CallGuard(timeout_s=0.02, max_abandoned=2)
    releases, gone = [threading.Event(), threading.Event()], threading.Event()
    for release in releases:
        with pytest.raises(CallHung):
            guard.call("hang", lambda wait=release.wait: wait(10), gone.set)  # type: ignore[misc]

    with pytest.raises(HypervisorUnavailable, match="2 libvirt calls"):
        guard.call("add", lambda: 1 + 1, nothing)
    releases[0].set()
    assert gone.wait(5)
    for thread in threading.enumerate():
        if thread.name == "libvirt-call" and guard.n_abandoned == 2:
            thread.join(0.5)
    assert guard.call("add", lambda: 1 + 1, nothing) == 2
    releases[1].set()
    guard.close()


def test_a_call_that_works_in_time_is_not_discarded() -> None:
    guard, discarded = CallGuard(timeout_s=5.0), threading.Event()

    guard.call("quick", nothing, discarded.set)
    guard.close()

    assert not discarded.is_set()
