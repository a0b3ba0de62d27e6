from __future__ import annotations

import pytest

from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.errors import ConfigInvalid


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5", (0, 1, 2, 5)), ("", ()), ("3", (3,))])
def test_cpu_lists(text, cpus):
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-"])
def test_bad_cpu_lists(text):
    with pytest.raises(ConfigInvalid):
        parse_cpu_list(text)
