"""Labs for integration tests: real hosts and guests, taken down at the end come what may."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evenkeel.domain.errors import LabMissingTools
from evenkeel.lab.commands import require_lab
from evenkeel.lab.config import LabConfig
from evenkeel.lab.lab import Lab

FIRST, LAST = 90, 99


def free_lab_number() -> int:
    """A lab number that nobody uses; processes side by side start looking at different ones."""
    span = LAST - FIRST + 1
    for i in range(span):
        number = FIRST + (os.getpid() + i) % span
        if Lab(LabConfig(number=number)).status().state == "down":
            return number
    raise RuntimeError(f"labs {FIRST} to {LAST} are all in use; try `evenkeel lab down --lab N`")


@pytest.fixture(scope="session")
def lab_tools() -> None:
    """Skips, saying why, where no lab can run."""
    try:
        require_lab()
    except LabMissingTools as missing:
        pytest.skip(missing.message)


@pytest.fixture(scope="session")
def make_lab(lab_tools: None) -> Iterator[Callable[..., Lab]]:
    """`make_lab(n_hosts=1, cpus_per_host=((0,),))` -> a Lab that is up, down at session's end."""
    made: list[Lab] = []

    def make(**settings: Any) -> Lab:
        lab = Lab(LabConfig(number=free_lab_number(), **settings))
        made.append(lab)
        lab.up()
        return lab

    try:
        yield make
    finally:
        for lab in made:
            lab.down()


@pytest.fixture(scope="session")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """One lab of two hosts for all tests of the session; leave no guest of yours on it."""
    return make_lab(n_hosts=2)
