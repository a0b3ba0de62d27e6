"""What every ModelRegistry must do. Subclasses say how to open one."""

from __future__ import annotations

import pytest
from tests.history_data import T0, a_model

from evenkeel.domain.errors import ModelNotFound
from evenkeel.domain.model import Horizon, ModelState
from evenkeel.domain.resources import Resource
from evenkeel.ports_history import ModelRegistry


def states(registry: ModelRegistry) -> dict[str, str]:
    return {r.info.forecaster: r.state.value for r in registry.models()}


def put(
    registry: ModelRegistry,
    name: str,
    age: int,
    resource: Resource = Resource.CPU,
    horizon: Horizon = Horizon.LONG,
) -> str:
    info = a_model(name.encode(), resource, T0 + age, name, horizon=horizon)
    registry.add(info, name.encode())
    return info.id


class RegistryContract:
    def test_a_model_comes_back_as_it_was_added(self, registry: ModelRegistry) -> None:
        info = a_model(b"learnt", note="first")
        for _ in range(2):
            registry.add(info, b"learnt")
        assert registry.model(info.id).info == info
        assert registry.blob(info.id) == b"learnt"
        assert [r.state for r in registry.models()] == [ModelState.CHALLENGER]
        assert registry.line(Resource.CPU) == ()

    def test_the_newest_comes_first_and_resources_are_apart(self, registry: ModelRegistry) -> None:
        put(registry, "a", 0)
        put(registry, "b", 2)
        put(registry, "c", 1, Resource.NET)
        assert [r.info.forecaster for r in registry.models()] == ["b", "c", "a"]
        assert [r.info.forecaster for r in registry.models(Resource.CPU)] == ["b", "a"]

    def test_promotion_and_roll_back(self, registry: ModelRegistry) -> None:
        a, b, c = put(registry, "a", 0), put(registry, "b", 1), put(registry, "c", 2)
        other = put(registry, "other", 3, Resource.NET)
        for each in (a, b, b, other):
            assert registry.promote(each).state is ModelState.CHAMPION
        assert registry.line(Resource.CPU) == (b, a)
        expected = {"a": "retired", "b": "champion", "c": "challenger", "other": "champion"}
        assert states(registry) == expected
        former = registry.rollback(Resource.CPU)
        assert former is not None
        assert former.info.id == a
        assert states(registry) == expected | {"a": "champion", "b": "retired"}
        assert registry.rollback(Resource.CPU) is None
        assert registry.line(Resource.CPU) == ()
        assert registry.line(Resource.NET) == (other,)
        with pytest.raises(ModelNotFound):
            registry.rollback(Resource.CPU)
        registry.promote(c)
        registry.promote(b)
        assert registry.line(Resource.CPU) == (b, c)

    def test_short_models_have_a_line_of_their_own(self, registry: ModelRegistry) -> None:
        long, one = put(registry, "long", 0), put(registry, "one", 1, horizon=Horizon.SHORT)
        two = put(registry, "two", 2, horizon=Horizon.SHORT)
        for each in (one, two, long):
            assert registry.promote(each).state is ModelState.CHAMPION
        assert registry.line(Resource.CPU) == (long,)
        assert registry.line(Resource.CPU, Horizon.SHORT) == (two, one)
        former = registry.rollback(Resource.CPU, Horizon.SHORT)
        assert former is not None
        assert former.info.id == one
        assert states(registry) == {"long": "champion", "one": "champion", "two": "retired"}
        assert registry.rollback(Resource.CPU, Horizon.SHORT) is None
        assert registry.line(Resource.CPU) == (long,)

    def test_what_is_not_there_is_not_found(self, registry: ModelRegistry) -> None:
        for ask in (registry.model, registry.blob, registry.promote):
            for name in ("nobody", "../etc/passwd", "", "serving"):
                with pytest.raises(ModelNotFound):
                    ask(name)

    def test_a_record_of_another_blob_is_refused(self, registry: ModelRegistry) -> None:
        with pytest.raises(ValueError, match="blob"):
            registry.add(a_model(b"one"), b"two")
        first, second = a_model(b"one"), a_model(b"two")
        registry.add(first, b"one")
        with pytest.raises(ValueError, match="id"):
            registry.add(a_model(b"two", id=first.id), b"two")
        assert registry.blob(first.id) == b"one"
        assert second.id != first.id
