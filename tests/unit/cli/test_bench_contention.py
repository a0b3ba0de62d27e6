"""`evenkeel bench contention`: small, but all of it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from evenkeel.cli.bench import bench_app


def test_a_small_fleet_is_timed_beside_its_baselines(tmp_path: Path) -> None:
    out = tmp_path / "contention.json"
    ran = CliRunner().invoke(
        bench_app, ["contention", "--hosts", "20", "--vms", "6", "--json", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(out.read_text())
    metrics = told["metrics"]
    assert metrics["directed_pairs"] == 20 * 6 * 5 * 4
    assert metrics["pairs_of_score_1"] > 0
    assert metrics["refresh_s"] >= metrics["map_s"] > 0
    assert set(told["detail"]["by_hosts"]) == {"2", "6", "20"}
    assert {"correlation", "agent, host by host"} < set(told["baselines"])
