"""Recording one's own fleet over the API, and `evenkeel record` in front of it."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.batches import START_S, a_batch, a_vm
from tests.cli_on_api import cli_on
from tests.controller_app import Api, bearer, open_api
from tests.history_data import STEP_S, T0, a_rollup

from evenkeel.adapters.traces.fleet import read_recorded
from evenkeel.config import ControllerConfig
from evenkeel.domain.recording import NEVER
from evenkeel.wiring.controller import assemble

SLOTS = 30


@pytest.fixture
def fleet(api: Api) -> Api:
    """web1 and db1 on h1; web1 moves to h2; gone1 left after 10 slots; other tenants on h2."""
    api.deliver(a_batch(1, "h1", [a_vm("web1", "shop"), a_vm("db1", "shop"), a_vm("gone1")]))
    api.clock.now_s += 60
    api.deliver(a_batch(1, "h2", [a_vm("web1", "shop"), a_vm("sql", "bank")], at_s=START_S + 65))
    api.deliver(a_batch(2, "h1", [a_vm("db1", "shop")], at_s=START_S + 65))
    history = api.services.forecasts.history
    for k in range(SLOTS):
        here = {"id-db1": 0.5} | ({"id-web1": 0.1 * k} if k < 5 else {})
        here |= {"id-gone1": 0.3} if k < 10 else {}
        there = {"id-sql": 1.5} | ({"id-web1": 0.1 * k} if k >= 5 else {})
        history.append(a_rollup(k, here, host="h1"))
        history.append(a_rollup(k, there, host="h2"))
    api.clock.now_s = T0 + SLOTS * STEP_S + 30
    return api


def test_the_span_that_is_kept(fleet: Api) -> None:
    told = fleet.get("/v1/recording", since_s=T0 - 86_400)
    end_s = T0 + SLOTS * STEP_S
    assert told == {"start_s": T0, "end_s": end_s, "slot_s": STEP_S, "n_kept": SLOTS}
    told = fleet.get("/v1/recording", since_s=T0 + 301, until_s=T0 + 899)
    assert told == {"start_s": T0 + 300, "end_s": T0 + 900, "slot_s": STEP_S, "n_kept": 2}


def test_hosts_in_pages_and_vms_that_left(fleet: Api) -> None:
    page = fleet.get("/v1/recording/hosts", limit=1)
    assert page["items"] == [
        {
            "host": "h1",
            "cpus": 2,
            "memory_mib": 4096.0,
            "net_mbit_s": None,
            "iops": None,
            "fault_domain": "",
            "last_seen_s": START_S + 60,
        }
    ]
    rest = fleet.get("/v1/recording/hosts", cursor=page["next"])
    assert [item["host"] for item in rest["items"]] == ["h2"]
    asked = {"ids": ["id-gone1", "nobody", "id-web1"]}
    answer = fleet.client.post("/v1/recording/vms", json=asked, headers=bearer(fleet.admin))
    assert [item["vm"] for item in answer.json()["items"]] == ["id-gone1", "id-web1"]
    assert answer.json()["items"][1] == {
        "vm": "id-web1",
        "name": "web1",
        "vcpus": 1,
        "memory_mib": 128.0,
        "tenant": "shop",
        "kind": "shop/1x128MiB",
    }


def test_slots_are_what_history_holds(fleet: Api) -> None:
    piece = fleet.get("/v1/recording/slots", start_s=T0 + 4 * STEP_S, end_s=T0 + 6 * STEP_S)
    slot = np.frombuffer(base64.b64decode(piece["slot"]), "<i8")
    vm = np.frombuffer(base64.b64decode(piece["vm"]), "<i4")
    host = np.frombuffer(base64.b64decode(piece["host"]), "<i4")
    demand = np.frombuffer(base64.b64decode(piece["demand"]), "<f4").reshape(-1, 4)
    assert piece["n"] == len(slot) == 8
    assert piece["resources"] == ["cpu", "memory", "net", "iops"]
    seen = {
        (int(s - T0) // STEP_S, piece["vms"][v]): (piece["hosts"][h], d.tolist())
        for s, v, h, d in zip(slot, vm, host, demand, strict=True)
    }
    cpu = np.float32(0.1 * 5)
    assert seen[4, "id-web1"][0] == "h1"
    assert seen[5, "id-web1"] == ("h2", [cpu, cpu * 100, cpu * 10, cpu * 5])
    empty = fleet.get("/v1/recording/slots", start_s=T0 - 600, end_s=T0)
    assert (empty["n"], empty["vms"], empty["demand"]) == (0, [], "")


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("", {"since_s": T0, "until_s": T0 - 1}, 422, "invalid_request"),
        ("", {"since_s": 0, "until_s": T0}, 422, "invalid_request"),
        ("", {"since_s": "nan", "until_s": T0}, 422, "invalid_request"),
        ("", {"since_s": T0 - 7200, "until_s": T0 - 3600}, 404, "not_found"),
        ("", {}, 422, "invalid_request"),
        ("/slots", {"start_s": T0, "end_s": T0 + 2 * 3600}, 422, "invalid_request"),
        ("/slots", {"start_s": T0 + 1, "end_s": T0 + 301}, 422, "invalid_request"),
        ("/slots", {"start_s": T0, "end_s": T0}, 422, "invalid_request"),
        ("/slots", {"start_s": -300, "end_s": 0}, 422, "invalid_request"),
        ("/hosts", {"limit": 0}, 422, "invalid_request"),
        ("/hosts", {"cursor": "x"}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_asked(fleet: Api, path, params, status, code) -> None:
    answer = fleet.client.get(f"/v1/recording{path}", params=params, headers=bearer(fleet.admin))
    assert fleet.refused(answer) == (status, code)
    if code == "not_found":
        assert "forecast.retention_days" in answer.json()["error"]["hint"]


def test_a_thousand_vms_at_once_and_no_more(fleet: Api) -> None:
    answer = fleet.client.post(
        "/v1/recording/vms", json={"ids": ["x"] * 1001}, headers=bearer(fleet.admin)
    )
    assert fleet.refused(answer) == (422, "invalid_request")


@pytest.mark.parametrize(("role", "subject"), [("tenant", "shop"), ("agent", "h1")])
def test_only_administrators_record(fleet: Api, role: str, subject: str) -> None:
    token = fleet.token(role, subject)
    for method, path in (
        ("GET", f"/v1/recording?since_s={T0}"),
        ("GET", "/v1/recording/hosts"),
        ("POST", "/v1/recording/vms"),
        ("GET", f"/v1/recording/slots?start_s={T0}&end_s={T0 + 300}"),
    ):
        answer = fleet.client.request(method, path, headers=bearer(token), json={"ids": []})
        assert fleet.refused(answer) == (403, "forbidden")


def test_a_controller_without_history_says_so(tmp_path: Path) -> None:
    api = open_api(tmp_path)
    services = assemble(
        api.services.store, api.clock, b"k" * 32, ControllerConfig(state_dir=str(tmp_path))
    )
    api.app.state.services = services
    with api.client:
        answer = api.client.get("/v1/recording?since_s=1", headers=bearer(api.admin))
    assert api.refused(answer) == (404, "not_found")
    assert "forecast.enabled" in answer.json()["error"]["hint"]


class TestCommand:
    @pytest.fixture
    def run(self, fleet: Api, monkeypatch: pytest.MonkeyPatch):
        return cli_on(fleet, monkeypatch)

    def test_a_recording_is_the_fleet(self, run, tmp_path: Path) -> None:
        file = tmp_path / "fleet.parquet"
        until = str(T0 + SLOTS * STEP_S)
        ended = run("record", str(file), "--last", "1d", "--until", until, "--json")
        assert ended.exit_code == 0, ended.output
        told = json.loads(ended.stdout)
        assert told == {
            "file": str(file),
            "bytes": file.stat().st_size,
            "version": 1,
            "start_s": T0,
            "end_s": T0 + SLOTS * STEP_S,
            "slot_s": STEP_S,
            "n_slots": SLOTS,
            "n_slots_missing": 0,
            "n_hosts": 2,
            "n_vms": 4,
            "n_vms_left_out": 0,
            "n_rows": 3 * SLOTS + 10,
            "anonymous": False,
        }
        found = read_recorded(file)
        stays = {
            vm: (a, b, h)
            for vm, a, b, h in zip(
                found.vms.ids,
                found.vms.arrives.tolist(),
                found.vms.leaves.tolist(),
                found.vms.host.tolist(),
                strict=True,
            )
        }
        assert stays == {
            "db1": (0, NEVER, 0),
            "gone1": (0, 10, 0),
            "web1": (0, NEVER, 0),
            "sql": (0, NEVER, 1),
        }
        web = found.vms.ids.index("web1")
        cpu = [found.demand.at(k)[web, 0] for k in range(SLOTS)]
        np.testing.assert_array_equal(cpu, np.float32([0.1 * k for k in range(SLOTS)]))
        assert [host.name for host in found.hosts] == ["h1", "h2"]
        assert "1 moves" in found.notes[0]

    def test_anonymous_tells_no_name(self, run, tmp_path: Path) -> None:
        files = [tmp_path / "a", tmp_path / "b"]
        for file in files:
            args = ("--last", "1d", "--until", str(T0 + SLOTS * STEP_S), "--anonymous")
            ended = run("record", str(file), *args)
            assert ended.exit_code == 0, ended.output
            assert "2 hosts and 4 VMs over 2.5 hours" in ended.output
        one, other = (read_recorded(file) for file in files)
        names = {"web1", "db1", "gone1", "sql", "shop", "bank", "h1", "h2", "id"}
        for file in files:
            words = repr(pq.read_table(file).drop_columns(["slot"]).to_pydict())
            words += pq.read_schema(file).metadata[b"evenkeel_recording"].decode()
            assert names.isdisjoint(re.findall(r"[a-z0-9]+", words))
        assert sorted(one.vms.tenant.count(t) for t in set(one.vms.tenant)) == [1, 1, 2]
        assert {kind.partition("/")[0] for kind in one.vms.kind} == set(one.vms.tenant)
        assert set(one.vms.ids).isdisjoint(other.vms.ids), "the salt is new each time"
        totals = [recording.wanted(7).sum() for recording in (one, other)]
        assert totals[0] == pytest.approx(totals[1])
        assert totals[0] > 0

    def test_missing_slots_and_forgotten_vms_are_told(self, run, fleet: Api, tmp_path) -> None:
        fleet.services.forecasts.history.append(a_rollup(SLOTS + 2, {"id-ghost": 1.0}))
        until = str(T0 + (SLOTS + 3) * STEP_S)
        ended = run("record", str(tmp_path / "f"), "--last", "1d", "--until", until)
        assert ended.exit_code == 0, ended.output
        assert "2 slots are not in the history" in ended.output
        assert "1 VMs are left out" in ended.output

    @pytest.mark.parametrize(
        ("args", "code"),
        [
            (("--last", "soon"), "time_invalid"),
            (("--last", "800d"), "invalid_request"),
            (("--until", "2020-01-01"), "not_found"),
        ],
    )
    def test_refusals(self, run, tmp_path: Path, args, code: str) -> None:
        ended = run("record", str(tmp_path / "f"), *args)
        assert ended.exit_code != 0
        assert code in ended.output
        assert "hint" in ended.output
        assert not (tmp_path / "f").exists()

    def test_where_nothing_can_be_written(self, run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        ended = run("record", str(tmp_path / "file" / "f"), "--until", str(T0 + SLOTS * STEP_S))
        assert ended.exit_code == 2
        assert "cannot be written" in ended.output

    def test_without_pyarrow_it_says_what_to_install(self, run, tmp_path, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not there
        ended = run("record", str(tmp_path / "f"), "--until", str(T0 + SLOTS * STEP_S))
        assert ended.exit_code == 2
        assert "pip install 'evenkeel[forecast]'" in ended.output
        assert not (tmp_path / "f").exists()
