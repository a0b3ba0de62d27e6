"""Configuration: parsed once, checked, and wrong in a way that says where."""

from pathlib import Path

import numpy as np
import pytest

from evenkeel.config import load
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.plan import ActionKind
from evenkeel.domain.policy import PairThreshold, Policy


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "evenkeel.toml"
    path.write_text(text)
    return path


def test_defaults_hand_out_the_default_policy(tmp_path):
    assert load(written(tmp_path, ""), {}).policy.as_policy() == Policy()


def test_the_environment_wins_over_the_file(tmp_path):
    path = written(tmp_path, '[agent]\ntick_s = 3\nhost_id = "h1"')
    config = load(path, {"EVENKEEL_AGENT__TICK_S": "2", "EVENKEEL_URL": "http://c:1"})
    assert (config.agent.tick_s, config.agent.host_id) == (2.0, "h1")
    assert config.client.url == "http://c:1"


def test_days_and_events_are_those_of_the_fleets_time_zone(tmp_path):
    text = """
    [forecast]
    time_zone = "Europe/Berlin"
    holidays = ["2026-12-25"]
    [[forecast.events]]
    name = "sale"
    start = 2026-11-27T08:00:00
    end = 2026-11-27T12:00:00Z
    """
    calendar = load(written(tmp_path, text), {}).forecast.calendar()
    eight, nine, christmas = 1_795_762_800, 1_795_766_400, 1_798_153_200
    rows = calendar.at(np.array([eight - 1, eight, nine, eight + 5 * 3600, christmas], float))
    assert rows.is_event.tolist() == [False, True, True, False, False]
    assert rows.is_holiday.tolist() == [False] * 4 + [True]
    assert rows.hour[1] == 8
    with pytest.raises(ConfigInvalid, match="unknown time zone"):
        load(written(tmp_path, '[forecast]\ntime_zone = "Mars/Base"'), {}).forecast.calendar()


def test_pairs_may_have_thresholds_and_actions_may_be_ruled_out(tmp_path):
    text = """
    [policy]
    alarm_score = 30
    allowed = ["pin_apart"]
    [[policy.pairs]]
    victim = "v"
    aggressor = "a"
    alarm_score = 50
    """
    policy = load(written(tmp_path, text), {}).policy.as_policy()
    assert policy.allowed == {ActionKind.PIN_APART}
    assert policy.pair_thresholds == (PairThreshold("v", "a", 50.0),)
    assert (policy.alarm_for("v", "a"), policy.alarm_for("a", "v")) == (50.0, 30.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agent]\ntick_s = 0", "tick_s"),
        ("[agent]\ntick = 1", "tick"),
        ("[policy]\nalarm_score = 5", "release_score"),
        ("[policy]\nallowed = ['reboot']", "allowed"),
        ("not toml", "evenkeel.toml"),
    ],
)
def test_a_wrong_file_is_named_with_the_field_and_the_reason(tmp_path, text, said):
    with pytest.raises(ConfigInvalid, match=said):
        load(written(tmp_path, text), {})


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(ConfigInvalid, match="nowhere"):
        load(tmp_path / "nowhere.toml", {})
