from __future__ import annotations

import json
import re

import pytest
from fleet_fake import HOSTILE, FleetFake
from httpx2 import ConnectError, ReadTimeout
from pydantic import BaseModel

from api_fake import ApiFake
from evenkeel.api.reliability import ReliabilityOut
from evenkeel.api.schemas import (
    EventOut,
    HostOut,
    MapOut,
    MitigationOut,
    ModeOut,
    Page,
    StatusOut,
    VmOut,
    WhyOut,
)

COMMANDS: list[tuple[list[str], type[BaseModel]]] = [
    (["status"], StatusOut),
    (["hosts"], Page[HostOut]),
    (["vms"], Page[VmOut]),
    (["vms", "--host", "host-a"], Page[VmOut]),
    (["map"], Page[MapOut]),
    (["map", "--host", "host-a"], Page[MapOut]),
    (["why", "web1"], WhyOut),
    (["map", "--horizon", "60"], Page[MapOut]),
    (["reliability", "--host", "host-a", "--hours", "2"], ReliabilityOut),
    (["why", HOSTILE.replace("/", "")], WhyOut),
    (["mitigations"], Page[MitigationOut]),
    (["mode"], ModeOut),
    (["events"], Page[EventOut]),
]


@pytest.mark.parametrize(
    ("args", "schema"), [c for c in COMMANDS if HOSTILE.replace("/", "") not in c[0]]
)
def test_json_is_the_apis(run, args, schema):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    schema.model_validate_json(result.stdout)


READS = [
    *("status", "hosts", "vms", "map", "why", "reliability"),
    *("mitigations", "mode", "events", "doctor"),
]


@pytest.mark.parametrize("name", READS)
def test_every_read_command_teaches_with_an_example(run, name):
    shown = run(name, "--help")
    assert shown.exit_code == 0
    assert f"Example: evenkeel {name}" in " ".join(shown.output.split())
    assert "--json" in shown.output


def test_status_names_the_culprit_in_words(run):
    shown = run("status").stdout
    assert "mode act   hosts 2/3 alive (1 silent)   VMs 12" in shown
    first = "batch7 hurts web1 on CPU: score  36  (p 0.90, severity 40 %), confidence 0.90"
    assert shown.index(first) < shown.index("stream hurts api1 on network")


def test_a_silent_host_shows_no_figures(run):
    (line,) = [line for line in run("hosts").stdout.splitlines() if line.startswith("host-c")]
    assert "silent" in line
    assert line.count("?") == 4


def test_a_vm_that_is_not_heard_of_shows_no_figures(run, monkeypatch):
    monkeypatch.setattr("evenkeel.cli.show.time.time", lambda: 1_800_000_000.0)
    lines = {line.split()[0]: line for line in run("vms").stdout.splitlines()}
    assert "unknown" in lines["wiki"]
    assert lines["wiki"].count("?") == 4
    assert "running" in lines["web1"]


def test_lists_follow_the_pages(run, api):
    api.fleet.page_size = 5
    found = json.loads(run("vms", "--json").stdout)
    assert len(found["items"]) == 12
    assert found["next"] is None
    assert [path for _, path in api.asked] == [
        "/v1/vms?limit=1000",
        "/v1/vms?limit=1000&cursor=5",
        "/v1/vms?limit=1000&cursor=10",
    ]


def test_limit_stops_and_says_that_there_is_more(run):
    result = run("vms", "--limit", "2")
    assert "web2" in result.stdout
    assert "db1" not in result.stdout
    assert "There are more" in result.stderr


def test_map_is_a_matrix_with_the_host_as_a_column(run):
    shown = run("map", "--host", "host-a").stdout
    (web1,) = [line for line in shown.splitlines() if " web1 " in line and "aggr" not in line]
    assert " 36C" in web1
    assert "the host" in shown
    assert "not involved: 1 more VM\n" in shown


def test_a_tenant_that_may_list_no_hosts_gets_the_maps_of_its_vms(run, monkeypatch):
    monkeypatch.setenv("EVENKEEL_TOKEN", "shop-token")
    found = json.loads(run("map", "--json").stdout)
    assert [each["host"] for each in found["items"]] == ["host-a"]


def test_map_that_is_too_wide_becomes_a_list_worst_first(run):
    shown = run("map", "--host", "host-a", columns=40).stdout
    assert "aggressors:" not in shown
    scores = [int(line.split()[0]) for line in shown.splitlines() if line.strip()[:1].isdigit()]
    assert scores[0] == 36
    assert scores[:-1] == sorted(scores[:-1], reverse=True)


def test_map_leaves_out_lower_scores(run):
    found = json.loads(run("map", "--host", "host-a", "--min-score", "10", "--json").stdout)
    assert [cell["score"] for cell in found["items"][0]["cells"]] == [36.0, 12.4]


def test_why_gives_evidence_and_help_and_the_roads_not_taken(run):
    shown = run("why", "web1").stdout
    for words in (
        "expected to lose 36 % of the CPU it wants because of batch7",
        "12 samples in 60 s",
        "what would help: keep batch7 off the CPUs of web1",
        "predicted loss afterwards 3 %",
        "not quota of batch7 (loss 5 %): would take half of what it wants",
        "ineffective: loss stayed",
        "CPU loss 42 % measured, 36 % by physics",
        "seen by run-queue delay 42 %, memory reclaim 0 %, the guest itself 50 %",
        "confirmed, loss 41 % free, 30 % while it was throttled (12 and 6 ticks)",
    ):
        assert words in shown
    assert shown.count("not boost of web1 (loss 18 %)") == 1, "two strengths, one effect"


def test_mitigations_open_asks_for_those_in_force(run, api):
    found = json.loads(run("mitigations", "--open", "--vm", "web1", "--json").stdout)
    assert api.asked == [("GET", "/v1/mitigations?vm=web1&open_only=true&limit=100")]
    assert found["items"] == []  # the fake, as the API, takes the id here; the name finds none


def test_acting_asks_first(run, api):
    assert run("mode", "act", stdin="n\n").exit_code == 1
    assert api.asked == []
    assert run("mode", "act", stdin="y\n").exit_code == 0
    assert api.asked == [("PUT", "/v1/mode")]


def test_mode_is_set_and_unset(run, api):
    assert json.loads(run("mode", "observe", "--json").stdout)["mode"] == "observe"
    given = run("mode", "act", "--host", "host-a", "--yes", "--json")
    assert json.loads(given.stdout)["hosts"] == {"host-a": "act", "host-b": "advise"}
    unset = run("mode", "--unset", "--host", "host-a", "--json")
    assert json.loads(unset.stdout)["hosts"] == {"host-b": "advise"}


@pytest.mark.parametrize(
    "args",
    ["--unset", "act --unset --host x", "--host x", "act --host x --tenant y"],
)
def test_mode_refuses_what_makes_no_sense(run, api, args):
    result = run("mode", *args.split())
    assert result.exit_code == 1
    assert "invalid_request" in result.stderr
    assert api.asked == []


def test_events_follow_prints_only_the_new_ones(run, api, monkeypatch):
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("evenkeel.cli.fleet.time.sleep", wait)
    result = run("events", "--follow", "--json", "--limit", "3")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["id"] for event in events] == [3, 4, 5]
    assert result.exit_code == 0


def test_an_empty_fleet_teaches(run, api):
    api.fleet = FleetFake(api.fleet.now_s, empty=True)
    for command in ("status", "hosts", "map"):
        shown = run(command).stdout
        assert "No agent has reported yet. On a libvirt host run: evenkeel agent" in shown


def test_escape_sequences_of_others_never_reach_the_terminal(run, api, monkeypatch):
    evil = "\x1b]0;owned\x07[red]x"
    monkeypatch.setattr("fleet_fake.HOSTILE", evil)
    api.fleet.modes = ModeOut(mode="act", hosts={evil: "act"}, tenants={})
    shown = run("mode").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]x" in shown


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (ConnectError("refused"), "cannot reach http://127.0.0.1:8470: refused"),
        (ReadTimeout("slow"), "did not answer in time"),
    ],
)
def test_no_controller(run, api, broken, words):
    api.broken = broken
    result = run("status")
    assert result.exit_code == 3
    assert words in result.stderr
    assert "(controller_unavailable)" in result.stderr
    assert "hint: Is `evenkeel controller` running" in result.stderr
    assert result.stdout == ""


def test_api_errors_keep_code_hint_and_exit_code(run, monkeypatch):
    missing = run("why", "nosuch")
    assert missing.exit_code == 1
    assert "there is no VM 'nosuch' (not_found)" in missing.stderr
    assert "hint: `evenkeel vms` lists them." in missing.stderr
    monkeypatch.setenv("EVENKEEL_TOKEN", "wrong")
    refused = run("status", "--json")
    assert refused.exit_code == 4
    assert "(unauthenticated)" in refused.stderr


def test_a_token_file_wins_over_the_environment(run, api, tmp_path):
    token = tmp_path / "token"
    token.write_text("shop-token\n")
    found = json.loads(run("vms", "--json", "--token-file", str(token)).stdout)
    assert {vm["tenant"] for vm in found["items"]} == {"shop"}
    unreadable = run("vms", "--token-file", str(tmp_path / "none"))
    assert unreadable.exit_code == 2
    assert "(config_invalid)" in unreadable.stderr


def test_names_are_one_segment_of_the_path(run, api: ApiFake):
    run("why", "a/../b?c")
    assert api.asked == [("GET", "/v1/vms/a%2F..%2Fb%3Fc/why")]


def test_reliability_draws_bars_with_the_diagonal_and_a_verdict(run):
    shown = run("reliability").stdout
    now, ahead = shown.split("predicted for the next 60 s")
    assert "predicted for the next 5 s   163553 predictions" in now
    assert "within 2 points in every populated bin: yes   worst +1.5 points" in now
    assert "10 of 11 bins judged" in now
    assert "within 2 points in every populated bin: no   worst -6.8 points" in ahead
    (row,) = [line for line in now.splitlines() if line.startswith("30-40 %")]
    bar = row.split()[2]
    assert (len(bar), bar.index("|")) == (40, 14)
    assert row.split()[3:] == ["900", "35.2", "%", "36.1", "%", "+0.9", "1.2"]
    (few,) = [line for line in now.splitlines() if line.startswith("80-90 %")]
    assert "(9)" in few
    assert "too few to judge" in now


def test_reliability_of_one_resource_at_one_horizon(run, api):
    shown = run("reliability", "--resource", "iops", "--horizon", "5").stdout
    assert "60920 predictions" in shown
    assert "next 60 s" not in shown
    api.fleet.names = []
    assert "Nothing was predicted and measured yet" in run("reliability").stdout


def test_reliability_is_the_operators(run, monkeypatch):
    monkeypatch.setenv("EVENKEEL_TOKEN", "shop-token")
    refused = run("reliability")
    assert refused.exit_code != 0
    assert "operator" in refused.stderr


def test_why_and_the_map_say_what_is_not_as_predicted(run):
    told = "not as predicted: batch7 costs web2 more memory: 24 % measured, 2 % predicted"
    assert told in run("why", "web2").stdout
    assert told in run("why", "batch7").stdout
    assert told in run("map", "--host", "host-a").stdout
    why = run("why", "web1").stdout
    assert "not as predicted" not in why
    assert re.search(r"CPU +36 % +42 %", why)


def test_the_map_of_another_horizon_is_not_the_present_one(run):
    shown = run("map", "--host", "host-a", "--horizon", "60").stdout
    assert "for the next 60 s" in shown
    assert "no pair scores that far ahead" in shown
    assert "36" not in shown
