"""`evenkeel plan` against the whole API, and its benchmark, small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.batches import a_batch, a_vm
from tests.cli_on_api import Run, cli_on
from tests.controller_app import Api, open_api
from typer.testing import CliRunner

from evenkeel.cli.bench import bench_app


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = open_api(tmp_path)
    at_s = api.clock.now_s
    for host, vms in (("h1", ["web1", "web2"]), ("h2", ["db1"])):
        batch = a_batch(1, host, [a_vm(vm) for vm in vms], at_s=at_s, sent_at_s=at_s)
        assert batch.tick is not None
        calm = [[0.1, *row[1:]] for row in batch.tick.demand]
        tick = msgspec.structs.replace(batch.tick, demand=calm)
        api.deliver(msgspec.structs.replace(batch, tick=tick))
    yield api
    api.services.claims.close()
    api.services.store.close()


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    invoke = cli_on(api, monkeypatch)
    return lambda *args: invoke("plan", *args)


def test_moves_are_shown_and_what_they_lead_to(run: Run) -> None:
    result = run("consolidate")
    assert result.exit_code == 0, result.output
    assert "db1" in result.stdout
    assert "hosts in use: 2 -> 1 (no packing has fewer than 1)" in result.stdout
    told = json.loads(run("consolidate", "--json").stdout)
    assert [move["name"] for move in told["moves"]] == ["db1"]


def test_the_plan_that_stands_is_shown_with_when(run: Run, api: Api) -> None:
    early = run()
    assert early.exit_code != 0
    assert "advice_unavailable" in early.output
    api.clock.now_s += -api.clock.now_s % 600
    assert api.services.advice is not None
    api.services.advice.look()
    shown = run()
    assert shown.exit_code == 0, shown.output
    assert "db1" in shown.stdout
    assert "1 move, hosts in use 2 -> 1" in shown.stdout
    assert "fresh; looked at" in shown.stdout
    api.clock.now_s += 5
    api.services.advice.look()
    assert "kept since" in run().stdout
    assert json.loads(run("--json").stdout)["turn"] == "first"


def test_nothing_worth_doing_is_said_with_the_reason(run: Run) -> None:
    result = run("consolidate", "--payback-h", "0")
    assert result.exit_code == 0, result.output
    assert "Nothing is worth moving" in result.stdout
    assert "left as it is: h1, h2: the moves cost more than is saved" in result.stdout
    assert "Nothing is worth moving" in run("rebalance", "--alarm", "0.45").stdout


def test_a_wrong_risk_has_a_code(run: Run) -> None:
    result = run("rebalance", "--alarm", "0")
    assert result.exit_code != 0
    assert "invalid_request" in result.output


def test_the_benchmark_has_its_baselines_and_a_checked_plan(tmp_path: Path) -> None:
    out = tmp_path / "consolidate.json"
    ran = CliRunner().invoke(
        bench_app, ["consolidate", "--hosts", "12", "--vms", "600", "--json", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(out.read_text())
    ours, others = told["metrics"], told["baselines"]
    assert (ours["refusals"], ours["hosts_at_risk"], ours["exempt_moved"]) == (0, 0, 0)
    assert ours["floor_hosts"] <= ours["hosts_after"] < ours["hosts_before"]
    assert ours["floor_moves"] <= ours["moves"]
    anew = others["first-fit decreasing, all anew"]
    assert ours["moves"] < anew["moves"]
    assert ours["cost_per_h"] <= min(other["cost_per_h"] for other in others.values()) + 1e-9


def test_looks_of_the_controller_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "advice.json"
    args = ["advice", "--hosts", "8", "--vms", "80", "--json", str(file)]
    ran = CliRunner().invoke(bench_app, args)
    assert ran.exit_code == 0, ran.output
    told = json.loads(file.read_text())
    metrics = told["metrics"]
    assert metrics["hosts_after"] < metrics["hosts_before"] == 8
    assert metrics["moves_2"] < metrics["moves_1"]
    assert len(told["detail"]["turns"]) == 4
    assert told["detail"]["turns"][0] == "first"
