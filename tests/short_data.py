"""Short models to serve, keep and damage; random weights, so that two of them differ."""

from __future__ import annotations

import hashlib

import numpy as np
from tests.history_data import T0, a_model

from evenkeel.domain.model import Horizon
from evenkeel.domain.resources import Resource
from evenkeel.forecast.short import BUILT_IN, Weights
from evenkeel.ports import KeptModel
from evenkeel.ports_history import ModelRegistry
from evenkeel.wire import ServingModel


def random_weights(seed: int = 1, step_s: float = 5.0) -> Weights:
    rng = np.random.default_rng(seed)
    mix = rng.random(BUILT_IN.mix.shape).astype(np.float32)
    widen = rng.normal(0, 0.3, BUILT_IN.widen.shape).astype(np.float32)
    return Weights(mix / mix.sum(axis=2, keepdims=True), widen, step_s)


def kept(blob: bytes, name: str = "cpu-short-1") -> KeptModel:
    return KeptModel(name, hashlib.sha256(blob).hexdigest(), blob)


def serving(model: KeptModel, resource: str = "cpu") -> ServingModel:
    return ServingModel(resource, model.id, model.sha256)


def promoted(
    registry: ModelRegistry, seed: int, resource: Resource = Resource.CPU, step_s: float = 5.0
) -> str:
    """The id of a short model that serves now."""
    blob = random_weights(seed, step_s).save()
    info = a_model(blob, resource, T0 + seed, "short", horizon=Horizon.SHORT, step_s=step_s)
    registry.add(info, blob)
    registry.promote(info.id)
    return info.id
