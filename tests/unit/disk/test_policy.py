"""FilePolicyMemory: what was saved comes back; trouble is logged and never raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenkeel.adapters.disk.policy import FilePolicyMemory
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.plan import ActionKind
from evenkeel.domain.policy import PairThreshold, Policy

POLICY = Policy(
    version=3,
    mode=Mode.ACT,
    tenant_modes={TenantId("acme"): Mode.OBSERVE},
    pair_thresholds=(PairThreshold(VmId("v"), VmId("a"), 35.0),),
    allowed=frozenset({ActionKind.BOOST}),
)


def test_nothing_saved_yet(tmp_path: Path) -> None:
    assert FilePolicyMemory(tmp_path / "policy.json").load() is None


def test_the_last_policy_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "policy.json"
    memory = FilePolicyMemory(path)
    memory.save(Policy(version=2))
    memory.save(POLICY)
    assert FilePolicyMemory(path).load() == POLICY
    assert [each.name for each in path.parent.iterdir()] == ["policy.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"mode": "berserk"}', b"\xff\xfe", b"[]"])
def test_an_unreadable_file_is_logged_and_replaced_later(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    memory = FilePolicyMemory(path)
    assert memory.load() is None
    assert "policy.json cannot be read" in caplog.text
    memory.save(POLICY)
    assert memory.load() == POLICY


def test_a_disk_that_refuses_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("not a directory")
    FilePolicyMemory(tmp_path / "state" / "policy.json").save(POLICY)
    assert "was not saved" in caplog.text
