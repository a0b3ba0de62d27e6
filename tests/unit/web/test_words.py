from __future__ import annotations

import pytest

from evenkeel.domain.plan import ActionKind, MitigationState
from evenkeel.domain.resources import AXIS
from evenkeel.web import words


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (0.0, "0 %"), (0.004, "<1 %"), (0.4, "40 %"), (1.0, "100 %")]
)
def test_a_loss_that_is_not_zero_never_reads_as_zero(share, text):
    assert words.percent(share) == text.replace(" ", "\u202f")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59, "59 s"), (90, "2 min"), (7000, "117 min"), (9e4, "25 h")],
)
def test_durations(seconds, text):
    assert words.duration(seconds) == text.replace(" ", "\u202f")


def test_heat_levels_begin_at_their_bounds():
    scores = (0.9, 1, 9.9, 10, 20, 40, 69, 70, 100)
    assert [words.heat_level(score) for score in scores] == [0, 1, 2, 3, 4, 5, 5, 6, 6]


def test_every_code_has_words_and_every_resource_its_own_letter():
    assert set(words.ACTION_WORDS) == set(ActionKind)
    assert set(words.STATE_WORDS) == set(MitigationState)
    assert len({words.resource_letter(resource) for resource in AXIS}) == len(AXIS)


def test_prose_marks_code_and_escapes_the_rest():
    assert str(words.prose("a <b> `x<y`.")) == "a &lt;b&gt; <code>x&lt;y</code>."


def test_a_problem_brings_the_hint_of_its_error():
    assert "libvirtd" in words.problem_hint("hypervisor_unavailable")
    assert "log" in words.problem_hint("nonsense")
