"""The four resources, their order on every array axis, their units and shard sizes.

This is the one place that knows them; everything else indexes with `AXIS` or `axis_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Resource(StrEnum):
    CPU = "cpu"
    MEMORY = "memory"
    NET = "net"
    IOPS = "iops"


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """Unit of a resource and the size of its smallest allocatable piece, in that unit."""

    unit: str
    shard: float
    label: str


SPECS: Final[dict[Resource, ResourceSpec]] = {
    Resource.CPU: ResourceSpec(unit="cores", shard=0.05, label="CPU"),
    Resource.MEMORY: ResourceSpec(unit="MiB", shard=64.0, label="memory"),
    Resource.NET: ResourceSpec(unit="Mbit/s", shard=1.0, label="network"),
    Resource.IOPS: ResourceSpec(unit="1/s", shard=10.0, label="disk"),
}

AXIS: Final[tuple[Resource, ...]] = tuple(SPECS)
N_RESOURCES: Final = len(AXIS)
_INDEX: Final = {resource: i for i, resource in enumerate(AXIS)}


def axis_of(resource: Resource) -> int:
    """Position of `resource` on every resource axis."""
    return _INDEX[resource]


CPU_AXIS: Final = axis_of(Resource.CPU)
MEMORY_AXIS: Final = axis_of(Resource.MEMORY)
NET_AXIS: Final = axis_of(Resource.NET)
IOPS_AXIS: Final = axis_of(Resource.IOPS)
