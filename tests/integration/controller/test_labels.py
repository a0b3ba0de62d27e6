"""Labels of VMs that were placed hold after the controller was killed and started again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.batches import a_batch, a_vm
from tests.controller_process import Controller, running

pytestmark = pytest.mark.integration

APART = {"labels": ["web"], "rules": [{"relation": "apart", "label": "web"}]}


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/controller.db"
    return str(request.getfixturevalue("postgresql_url"))


def report(controller: Controller, host: str, *names: str, seq: int) -> None:
    at_s = time.time()
    vms = [replace(a_vm(name), n_vcpus=1) for name in names]
    batch = a_batch(seq, host, vms, at_s=at_s, sent_at_s=at_s)
    assert batch.tick is not None
    demand = [[0.1, *row[1:]] for row in batch.tick.demand]
    tick = msgspec.structs.replace(batch.tick, demand=demand)
    token = controller.token("agent", host)
    controller.deliver(msgspec.structs.replace(batch, tick=tick), token)


def place(controller: Controller, name: str) -> dict[str, Any]:
    body = {"vms": [{"vm": name, "vcpus": 1, "memory_mib": 256, "wants": {"cpu": 0.2}, **APART}]}
    answer = controller.client.post(
        "/v1/placements", json=body, headers={"Authorization": f"Bearer {controller.admin}"}
    )
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()["outcomes"][0]
    return outcome


def test_a_killed_controller_knows_who_keeps_apart(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, database_url) as first:
        for host in ("h1", "h2"):
            report(first, host, f"{host}-vm", seq=1)
        here = place(first, "web1")["host"]
        first.kill()
    other = ({"h1", "h2"} - {here}).pop()
    with running(tmp_path, database_url) as second:
        report(second, here, f"{here}-vm", "web1", seq=2)
        [shown] = [vm for vm in second.get("/v1/vms").json()["items"] if vm["name"] == "web1"]
        assert (shown["host"], shown["labels"]) == (here, ["web"])
        assert place(second, "web2")["host"] == other
        refused = place(second, "web3")
        assert not refused["placed"]
        assert {reason["code"] for reason in refused["reasons"]} == {"apart"}
