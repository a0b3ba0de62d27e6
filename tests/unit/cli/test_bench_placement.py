"""`evenkeel bench placement` and `packing`: small, but all of it; and how the peer is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.placements import vm
from typer.testing import CliRunner

from evenkeel.bench import openstack
from evenkeel.bench.openstack_calls import Refusal, add_host, place, through, timed
from evenkeel.bench.packing import Arrivals, Heuristic, HostKind, Ours, bound, events, replay
from evenkeel.bench.placement import times
from evenkeel.bench.placement_fleet import make_hosts
from evenkeel.cli.main import app
from evenkeel.placement.allocate import Taste


def run(*args: str) -> dict:
    ran = CliRunner().invoke(app, ["bench", *args])
    assert ran.exit_code == 0, ran.output
    told: dict = json.loads(Path(args[-1]).read_text())
    return told


def test_durable_placements_are_counted_and_compared(tmp_path: Path) -> None:
    args = ("--hosts", "40", "--vms", "150", "--no-growth", "--no-exact", "--peer-vms", "10")
    told = run("placement", *args, "--json", str(tmp_path / "out.json"))
    metrics = told["metrics"]
    assert metrics["refused"] == 0
    assert metrics["placements_per_s"] > 0
    assert metrics["blind_placements_per_s"] > 0
    assert metrics["http_batch_placements_per_s"] > 0
    assert 0 < metrics["p50_ms"] <= metrics["p99_ms"]
    assert set(told["baselines"]) == {"every host anew"}


def arrivals(n: int, rng: np.random.Generator) -> Arrivals:
    start_s = np.sort(rng.uniform(0, 10_000, n))
    vcpus = rng.choice([1.0, 2.0, 4.0], n)
    return Arrivals(
        start_s,
        start_s + rng.exponential(2_000, n) + 1.0,
        np.column_stack([vcpus, vcpus * rng.choice([1.0, 4.0], n)]),
        vcpus * 0.4,
        vcpus * 0.2,
    )


KIND = HostKind(8.0, 16.0, 48.0)


@pytest.mark.parametrize("seed", range(3))
def test_no_policy_uses_fewer_hosts_than_the_bound(seed: int) -> None:
    those = arrivals(400, np.random.default_rng(seed))
    least = bound(those, KIND)
    tastes = Taste(), Taste(aware=False)
    policies = [Ours(those, KIND, 200, taste) for taste in tastes]
    policies += [
        Heuristic(those, KIND, 200, rule) for rule in ("first-fit", "best-fit", "dot-product")
    ]
    for policy in policies:
        told = replay(those, KIND, policy, 200)
        assert told["hosts_peak"] >= least["hosts_peak"]
        assert told["hosts_mean"] >= least["hosts_mean"] - 1e-9
        assert told["contention_pct"] >= 0


def test_who_leaves_makes_room_for_who_comes_then() -> None:
    size = np.array([[16.0, 1.0], [16.0, 1.0]])
    twice = Arrivals(np.array([0.0, 10.0]), np.array([10.0, 30.0]), size, np.ones(2), np.zeros(2))
    assert events(twice) == [(0.0, 0, True), (10.0, 0, False), (10.0, 1, True)]
    assert replay(twice, KIND, Ours(twice, KIND, 3, Taste()), 3)["hosts_peak"] == 1
    assert bound(twice, KIND) == {"hosts_peak": 1.0, "hosts_mean": 1.0}


def test_arrivals_are_read_and_packed(tmp_path: Path) -> None:
    n = 60
    rng = np.random.default_rng(1)
    columns = {
        "split": ["dev"] * (n - 1) + ["test"],
        "ts": np.arange(n) * 60,
        "batch": np.arange(n) // 5,
        "vcpus": rng.choice([1, 2, 8], n),
        "mem_gib": rng.choice([1.75, 3.5, 14.0], n),
        "life_lo_s": np.full(n, 300),
        "life_hi_s": np.full(n, 900),
    }
    file = tmp_path / "arrivals.parquet"
    pq.write_table(pa.table(columns), file)
    told = run("packing", "--input", str(file), "--json", str(tmp_path / "out.json"))
    assert told["metrics"]["vms"] == n - 1
    others = {"ours, blind", "bound", "first-fit", "best-fit", "dot-product"}
    assert set(told["baselines"]) == others
    pq.write_table(pa.table(columns).drop_columns(["vcpus"]), file)
    ran = CliRunner().invoke(app, ["bench", "packing", "--input", str(file)])
    assert ran.exit_code == 2
    assert "trace_invalid" in ran.output


def test_the_peer_is_asked_for_a_candidate_and_then_for_an_allocation() -> None:
    asked = []

    def answer(method: str, path: str, _body: object) -> tuple[int, bytes]:
        asked.append((method, path.partition("?")[0]))
        if asked[-1][1] == "/allocation_candidates":
            assert path.endswith("?resources=VCPU%3A2%2CMEMORY_MB%3A2048&limit=1")
            body = {"allocation_requests": [{"allocations": {"p": {"resources": {"VCPU": 2}}}}]}
            return 200, json.dumps(body).encode()
        return 201 if method == "POST" else 204, b""

    for host in openstack.hosts_of(make_hosts(2, np.random.default_rng(1))):
        add_host(answer, host)
    told = timed(answer, [openstack.vm_of(vm("a", 1.5))])
    assert [method for method, _ in asked] == ["POST", "PUT", "POST", "PUT", "GET", "PUT"]
    assert told["vms"] == 1
    assert told["refused"] == 0


def test_a_peer_that_errs_is_told_as_such() -> None:
    with pytest.raises(Refusal, match="500: broken"):
        place(lambda *_: (500, b"broken"), openstack.vm_of(vm("a")))


def test_the_peer_in_process_is_asked_as_over_http() -> None:
    asked = []

    def application(environ: dict, start: Callable) -> list[bytes]:
        sent = environ["wsgi.input"].read()
        path = environ["PATH_INFO"]
        asked.append((environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], sent))
        assert environ["HTTP_X_AUTH_TOKEN"] == "admin"
        start("200 OK", [])
        found = b'{"allocation_requests": [{"allocations": {}}]}'
        return [found] if path == "/allocation_candidates" else [b""]

    assert place(through(application), openstack.vm_of(vm("a")))
    (found, taken) = asked
    assert found[:2] == ("GET", "/allocation_candidates")
    assert found[2].startswith("resources=VCPU%3A1%2CMEMORY_MB%3A2048")
    assert taken[0] == "PUT"
    assert json.loads(taken[3])["allocations"] == {}


def test_like_is_compared_with_like() -> None:
    ours = {"placements_per_s": 300.0, "http_batch_placements_per_s": 100.0, "p99_ms": 1.0}
    ours["blind_placements_per_s"] = 400.0
    told = times(ours, {"placements_per_s": 5.0}, {"placements_per_s": 10.0})
    assert told == {"times_peer": 30.0, "http_batch_times_peer": 20.0}
