"""The report of a replay: what it says, that it keeps to itself, and that it is always the same."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.replays import a_recording, an_outcome

from evenkeel.bench import replay_svg
from evenkeel.bench.replay_report import html, report, result
from evenkeel.bench.replay_words import (
    ROWS,
    difference,
    hours,
    metrics_of,
    number,
    rows_of,
    sentences,
)
from evenkeel.domain.errors import ConfigInvalid

FLEET = a_recording()
STAY = an_outcome("stay", FLEET, 1)
OURS = an_outcome(
    "evenkeel",
    FLEET,
    2,
    ("Demand is taken as recorded.", "Moves cost what they cost on 10 Gbit/s."),
    energy_kwh=75.0,
    hosts_peak=1.0,
    migrations=1234.0,
    migrated_gib=321.0,
    **{"unserved_pct.cpu": 0.25},
    mitigations=17.0,
    rolled_back=2.0,
)


def row(name: str):
    return next(each for each in ROWS if each.key == name)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (12345.6, "12,346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (0.0123456, "0.0123"),
        (0.0000001, "under 0.001"),
        (-3.21, "−3.21"),
        (float("nan"), "not known"),
        (None, "not known"),
    ],
)
def test_numbers_as_people_write_them(value, told):
    assert number(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "0 h"), (5 / 60, "5 min"), (1.5, "90 min"), (26.2, "26 h"), (None, "not known")],
)
def test_hours(value, told):
    assert hours(value) == told


@pytest.mark.parametrize(
    ("name", "value", "base", "told"),
    [
        ("energy_kwh", 75.0, 100.0, "−25.0 %"),
        ("energy_kwh", 100.0, 100.0, "same"),
        ("energy_kwh", 100.05, 100.0, "about the same"),
        ("energy_kwh", 5.0, 0.0, "+5.00"),
        ("contended_vm_hours", 209.0, 1.0, "209 times"),
        ("migrations", 1234.0, 0.0, "+1,234"),
        ("unserved_pct.cpu", 0.25, 1.0, "−0.750 points"),
        ("unserved_pct.cpu", 1.0001, 1.0, "about the same"),
        ("energy_kwh", None, 1.0, ""),
    ],
)
def test_differences(name, value, base, told):
    assert difference(value, base, row(name)) == told


def test_what_a_policy_would_have_meant():
    assert sentences(OURS, STAY, 30) == [
        "The fleet would have taken 75.0 kWh, 25.0 % less than with stay, with 1 hosts on at most "
        "(stay: 2).",
        "VMs would have been moved 1,234 times, 321 GiB in all.",
        "0.250 % of the CPU work that VMs wanted would not have been done (stay: 1.00 %).",
        "20 of 30 VMs would have been hurt: more than a tenth of what they wanted was lost for an "
        "hour or more (stay: 20).",
        "17 fixes on hosts would have been made, 2 of them taken back.",
    ]
    assert sentences(STAY, STAY, 30)[1] == "No VM would have been moved."
    refused = an_outcome("best-fit", FLEET, refused=3.0)
    assert "3 VMs would have found no host." in sentences(refused, STAY, 30)


def test_the_table_has_every_metric_that_is_something():
    new = an_outcome("new", FLEET, something_else=3.0)
    rows = {each["label"]: each["cells"] for each in rows_of([STAY, OURS, new])}
    assert [cell["value"] for cell in rows["Energy"]] == ["100", "75.0", "100"]
    assert [cell["change"] for cell in rows["Energy"]] == ["", "−25.0 %", "same"]
    assert [cell["way"] for cell in rows["Energy"]] == ["", "ok", ""]
    assert rows["Moves of VMs"][1]["way"] == "bad"
    like = an_outcome("like", FLEET, energy_kwh=100.04)
    cell = rows_of([STAY, like])[0]["cells"][1]
    assert cell == {"value": "100", "change": "about the same", "way": ""}
    assert [cell["value"] for cell in rows["something_else"]] == ["not known", "not known", "3.00"]
    assert "Memory not given" not in rows, "nothing under any policy"
    assert "Fixes on hosts" in rows


def test_others_are_held_against_the_first_where_nobody_stays():
    other = an_outcome("best-fit", FLEET)
    page = html(FLEET, [other, OURS], 1)
    assert "the difference to best-fit" in page


class Outside(HTMLParser):
    """Whatever would fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "iframe", "img", "object", "embed", "form"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.found.append(name)
            if name in ("src", "href", "srcset", "action") and not (value or "").startswith(
                "data:"
            ):
                self.found.append(f"{name}={value}")


def test_it_fetches_nothing_and_runs_nothing_whatever_vms_are_called():
    names = '<script src="http://evil/x.js"></script><img src=x onerror=alert(1)>&"\''
    fleet = a_recording(prefix=names)
    page = html(fleet, [STAY, an_outcome('"><script>', fleet, notes=("<b onclick=1>",))], 1)
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    assert "&lt;script src=" in page
    assert not re.search(r"url\(|@import|http://(?!evil)", page)


def test_all_that_is_promised_is_there():
    page = html(FLEET, [STAY, OURS], 42)
    for words in (
        "25.0 % less than with stay",
        "Assumptions and limits",
        "Demand is taken as recorded.",
        "<b>evenkeel:</b> Moves cost what they cost on 10 Gbit/s.",
        "The ten VMs worst off",
        "seed 42",
        "Evenkeel 0.",
        "a made-up fleet · 30 VMs · 2 hosts · 24 hours · from 2027-01-15 08:00 UTC",
        "Hosts on",
        "Power",
        "CPU work not done",
        "Moves of VMs so far",
    ):
        assert words in page, words
    assert page.count("<svg viewBox") == 5, "four over time, one of losses"
    worst = np.argsort(-OURS.by_vm["loss_pct"])[:10]
    for i in worst:
        assert f"<bdi>vm{i}</bdi>" in page
    assert page.count("<bdi>") == 20
    assert page.index("25.0 % less") < page.index("Assumptions") < page.index("Side by side")


def test_the_same_outcomes_give_the_same_bytes(tmp_path: Path):
    one = report(FLEET, [STAY, OURS], tmp_path / "one", 1)
    other = report(FLEET, [STAY, OURS], tmp_path / "other.html", 1)
    assert one == tmp_path / "one" / "replay.html"
    assert one.read_bytes() == other.read_bytes()


def test_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        report(FLEET, [STAY], tmp_path / "file" / "x.html", 1)


def test_a_fleet_that_lost_nothing_and_columns_that_are_missing():
    quiet = an_outcome("stay", FLEET)
    quiet.by_vm["loss_pct"][:] = 0
    page = html(FLEET, [quiet], None)
    assert "No VM lost anything." in page
    assert "no seed" in page
    bare = type(STAY)("stay", {"energy_kwh": 1.0}, {}, {}, ())
    assert "1.00 kWh" in html(FLEET, [bare], 1)


def test_result_is_flat_with_baselines_beside():
    told = result(FLEET, [STAY, OURS], 1.5, 7)
    assert told.metrics["evenkeel.energy_kwh"] == 75.0
    assert told.metrics["stay.energy_kwh"] == 100.0
    assert told.metrics["evenkeel.hurt_vms"] == 20.0
    assert told.baselines.keys() == {"stay"}
    assert told.baselines["stay"]["migrations"] == 0.0
    assert told.seed == 7
    detail = json.loads(told.to_json())["detail"]
    assert len(detail["by_slot"]["evenkeel"]["watts"]) == FLEET.n_slots
    losses = [vm["loss_pct"] for vm in detail["worst_vms"]["evenkeel"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 10
    assert {"policy": "", "text": "Demand is taken as recorded."} in detail["notes"]


def test_what_is_not_a_number_is_left_out_of_the_metrics():
    odd = an_outcome("odd", FLEET, energy_kwh=float("nan"), slatah_pct=float("inf"))
    assert not {"energy_kwh", "slatah_pct"} & metrics_of(odd).keys()
    odd.by_slot["watts"][3] = np.nan
    assert (
        json.loads(result(FLEET, [odd], 1.0, 1).to_json())["detail"]["by_slot"]["odd"]["watts"][3]
        is None
    )
    html(FLEET, [odd], 1)


class TestCharts:
    @pytest.mark.parametrize("most", [0.0, 1e-6, 0.7, 1.0, 3.0, 19.0, 33.0, 101.0, 12_345.0])
    def test_an_axis_reaches_beyond_in_round_steps(self, most):
        axis = replay_svg.linear(most)
        assert axis.high >= most
        assert 2 <= len(axis.ticks) <= 7
        assert axis.ticks[0] == (0.0, "0")
        assert axis.ticks[-1][0] == pytest.approx(axis.high)

    @pytest.mark.parametrize("span_s", [300.0, 3600.0, 86_400.0, 3 * 86_400.0, 31 * 86_400.0])
    def test_time_has_a_handful_of_ticks(self, span_s):
        axis = replay_svg.elapsed(span_s)
        assert 1 <= len(axis.ticks) <= 10
        assert axis.ticks[-1][0] <= axis.high

    @pytest.mark.parametrize("n", [1, 191, 192, 193, 1000, 8640])
    def test_thinning_keeps_the_mean_and_the_last(self, n):
        values = np.random.default_rng(n).random(n)
        thin = replay_svg.thinned(values)
        assert len(thin) == min(n, replay_svg.N_POINTS)
        if n % len(thin) == 0:
            assert thin.mean() == pytest.approx(values.mean())
        assert replay_svg.thinned(values, "last")[-1] == values[-1]

    def test_lines_stay_within_the_picture(self):
        page = html(FLEET, [STAY, OURS], 1)
        for points in re.findall(r' d="(M[^"]+)"', page):
            xs = [float(x) for x in re.findall(r"[MH]([\d.]+)", points)]
            assert 0 <= min(xs) <= max(xs) <= replay_svg.WIDTH
