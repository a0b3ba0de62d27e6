"""FileModelMemory: what was saved comes back whole or not at all, whatever dies in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.killing import Killed, killed_at
from tests.short_data import kept

from evenkeel.adapters.disk.models import FileModelMemory
from evenkeel.domain.errors import ModelCorrupt, ModelsUnavailable
from evenkeel.domain.resources import Resource

OLD, NEW = kept(b"old\nlines", "cpu-1"), kept(b"new", "cpu-2")


def test_models_outlive_a_restart_and_can_be_forgotten(tmp_path: Path) -> None:
    memory = FileModelMemory(tmp_path / "models")
    assert memory.load(Resource.CPU) is None
    memory.save(Resource.CPU, NEW)
    memory.save(Resource.CPU, OLD)
    memory.save(Resource.NET, NEW)
    again = FileModelMemory(tmp_path / "models")
    assert again.load(Resource.CPU) == OLD
    assert again.load(Resource.NET) == NEW
    for _ in range(2):
        again.save(Resource.CPU, None)
    assert again.load(Resource.CPU) is None
    assert [each.name for each in (tmp_path / "models").iterdir()] == ["net.model"]


def test_any_damaged_byte_is_noticed(tmp_path: Path) -> None:
    memory = FileModelMemory(tmp_path)
    memory.save(Resource.CPU, OLD)
    path = tmp_path / "cpu.model"
    whole = path.read_bytes()
    for content in [b"", b"\xff", whole[:-1], *(_flipped(whole, k) for k in range(len(whole)))]:
        path.write_bytes(content)
        with pytest.raises(ModelCorrupt, match=r"cpu\.model"):
            memory.load(Resource.CPU)
    memory.save(Resource.CPU, NEW)
    assert memory.load(Resource.CPU) == NEW


def _flipped(content: bytes, k: int) -> bytes:
    return content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :]


def test_killed_between_any_two_writes_it_is_the_former_model_or_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_steps = 0
    for model in (NEW, None):
        for after in (False, True):
            for step in range(20):
                root = tmp_path / f"{model is None}-{after}-{step}"
                FileModelMemory(root).save(Resource.CPU, OLD)
                try:
                    with killed_at(step, monkeypatch, after):
                        FileModelMemory(root).save(Resource.CPU, model)
                    break
                except Killed:
                    n_steps += 1
                assert FileModelMemory(root).load(Resource.CPU) in (OLD, model)
                assert not list(root.glob(".*"))
    assert n_steps >= 6


def test_a_disk_that_refuses_says_so(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("not a directory")
    memory = FileModelMemory(tmp_path / "models")
    with pytest.raises(ModelsUnavailable):
        memory.save(Resource.CPU, NEW)
    with pytest.raises(ModelCorrupt):
        memory.load(Resource.CPU)
