"""How the demonstration is ended."""

from __future__ import annotations

import os
import signal

import pytest

from evenkeel.cli import demo


def test_a_second_sigterm_does_not_end_the_taking_down(monkeypatch: pytest.MonkeyPatch) -> None:
    took_down = False

    def run_real(*_: object) -> None:
        nonlocal took_down
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            took_down = True

    monkeypatch.setattr(demo, "_real_lab", lambda: object())
    monkeypatch.setattr(demo, "_run_real", run_real)
    before = signal.getsignal(signal.SIGTERM)
    try:
        demo.demo(simulated=False, once=False, mode="advise")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert took_down
