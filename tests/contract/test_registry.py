"""Both registries keep the contract; that in files survives kill -9 and damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.contract.registry_contract import RegistryContract, put
from tests.history_data import T0, MemoryRegistry, a_model
from tests.killing import Killed, killed_at

from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.domain.errors import ModelCorrupt, ModelNotFound, ModelsUnavailable
from evenkeel.domain.resources import Resource
from evenkeel.ports_history import ModelRegistry

WORKER = """
import sys
from pathlib import Path
from tests.history_data import T0, a_model
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.domain.resources import Resource

registry = FileModelRegistry(Path(sys.argv[1]))
print("ready", flush=True)
k = int(sys.argv[2])
while True:
    k += 1
    blob = str(k).encode() * 5000
    info = a_model(blob, at_s=T0 + k)
    registry.add(info, blob)
    registry.promote(info.id)
    if k % 3 == 0:
        registry.rollback(Resource.CPU)
"""


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> ModelRegistry:
        return MemoryRegistry()


class TestFileRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> FileModelRegistry:
        return FileModelRegistry(tmp_path)

    def test_it_is_there_after_a_restart(self, registry: FileModelRegistry, tmp_path: Path) -> None:
        first, second = put(registry, "a", 0), put(registry, "b", 1)
        registry.promote(first)
        registry.promote(second)
        again = FileModelRegistry(tmp_path)
        assert again.models() == registry.models()
        assert again.line(Resource.CPU) == (second, first)

    def test_killed_between_any_two_writes_it_is_the_former_state_or_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old, new = a_model(b"old", at_s=T0), a_model(b"new", at_s=T0 + 1)
        operations = {
            "add": lambda registry: registry.add(new, b"new"),
            "promote": lambda registry: registry.promote(new.id),
            "rollback": lambda registry: registry.rollback(Resource.CPU),
        }
        n_steps = 0
        for name, operation in operations.items():
            for after in (False, True):
                for step in range(100):
                    root = tmp_path / f"{name}-{after}-{step}"
                    registry = FileModelRegistry(root)
                    registry.add(old, b"old")
                    registry.promote(old.id)
                    if name != "add":
                        registry.add(new, b"new")
                    if name == "rollback":
                        registry.promote(new.id)
                    before = (registry.models(), registry.line(Resource.CPU))
                    try:
                        with killed_at(step, monkeypatch, after):
                            operation(registry)
                        done = True
                    except Killed:
                        done, n_steps = False, n_steps + 1
                    again = FileModelRegistry(root)
                    now = (again.models(), again.line(Resource.CPU))
                    if not done and now == before:
                        operation(again)  # what was lost can be done again
                        now = (again.models(), again.line(Resource.CPU))
                    assert now != before
                    for record in again.models():
                        assert again.blob(record.info.id) in (b"old", b"new")
                    assert not list(root.glob(".*.partial"))
                    if done:
                        break
        assert n_steps >= 20

    def test_killed_for_real_it_always_has_a_champion_that_loads(self, tmp_path: Path) -> None:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        k = n_models = 0
        for round_ in range(6):
            argv = [sys.executable, "-c", WORKER, str(tmp_path), str(k)]
            with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as worker:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"ready\n"
                time.sleep(0.1 + 0.037 * round_)
                worker.send_signal(signal.SIGKILL)
            registry = FileModelRegistry(tmp_path)
            records = registry.models()
            line = registry.line(Resource.CPU)
            assert len(records) > n_models
            assert line
            n_models = len(records)
            for record in records:
                assert len(registry.blob(record.info.id)) == record.info.size_bytes
            assert set(line) <= {record.info.id for record in records}
            k += 1000
            registry.promote(records[-1].info.id)

    @pytest.mark.parametrize("damage", [b"", b"other", None])
    def test_a_damaged_model_is_refused_and_says_so(
        self, registry: FileModelRegistry, tmp_path: Path, damage: bytes | None
    ) -> None:
        model = put(registry, "a", 0)
        file = tmp_path / f"{model}.model"
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage)
        for ask in (registry.blob, registry.promote):
            with pytest.raises(ModelCorrupt, match=model):
                ask(model)
        assert registry.line(Resource.CPU) == ()

    def test_a_damaged_record_hides_its_model_only(
        self, registry: FileModelRegistry, tmp_path: Path
    ) -> None:
        first, second = put(registry, "a", 0), put(registry, "b", 1)
        (tmp_path / f"{first}.json").write_text("{")
        assert [r.info.id for r in registry.models()] == [second]
        with pytest.raises(ModelNotFound):
            registry.blob(first)

    def test_damaged_or_newer_serving_records_are_not_guessed_at(
        self, registry: FileModelRegistry, tmp_path: Path
    ) -> None:
        model = put(registry, "a", 0)
        for text in ("{", '{"v": 2}'):
            (tmp_path / "serving.json").write_text(text)
            with pytest.raises(ModelsUnavailable):
                registry.line(Resource.CPU)
            with pytest.raises(ModelsUnavailable):
                registry.promote(model)

    def test_a_full_disk_is_said_and_changes_nothing(
        self, registry: FileModelRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = put(registry, "a", 0)

        def full(_: int) -> None:
            raise OSError(28, os.strerror(28))

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(ModelsUnavailable, match="No space left"):
                put(registry, "b", 1)
            with pytest.raises(ModelsUnavailable, match="No space left"):
                registry.promote(model)
        assert len(registry.models()) == 1
        assert registry.line(Resource.CPU) == ()

    def test_ids_that_are_paths_are_refused(self, registry: FileModelRegistry) -> None:
        for name in ("../up", "a/b", ".hidden", "serving", "A"):
            with pytest.raises(ValueError, match="id"):
                registry.add(a_model(b"x", id=name), b"x")
