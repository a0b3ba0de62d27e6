"""Stops at the n-th step that touches the disk, as kill -9 would: nothing is tidied up after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

STEPS = ("fsync", "replace", "unlink")


class Killed(BaseException):
    """No `except Exception` of the program under test may see it."""


@contextlib.contextmanager
def killed_at(step: int, patch: pytest.MonkeyPatch, after: bool) -> Iterator[None]:
    """The `step`-th of fsync, rename and removal does not happen, or is the last that does."""
    left = [step]

    def deadly(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if left[0] == 0 and not after:
                raise Killed
            result = real(*args, **kwargs)
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return result

        return call

    with patch.context() as inner:
        for name in STEPS:
            inner.setattr(os, name, deadly(getattr(os, name)))
        yield


def at_every_step(
    patch: pytest.MonkeyPatch, do: Callable[[], object], look: Callable[[bool], None]
) -> int:
    """Run `do` killed at its first step, its second and so on; `look(done)` after each.

    Each run begins where the one before was killed, as after a restart. How many steps it took.
    """
    for after in (False, True):
        for step in range(1000):
            try:
                with killed_at(step, patch, after):
                    do()
            except Killed:
                look(False)
            else:
                look(True)
                break
    return step
