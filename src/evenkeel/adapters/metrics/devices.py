"""Per-vCPU, per-disk and per-interface families, under the libvirt exporters' names.

The rest of Evenkeel needs only a VM's sums; dashboards made for those exporters want every device.
They are read from libvirt's own records when somebody scrapes, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

NS: Final = 1e-9
KIB: Final = 1024


class DomainRecord(NamedTuple):
    """One VM's dictionary from libvirt's `getAllDomainStats`."""

    name: str
    uuid: str
    stats: Mapping[str, Any]


class _Series(NamedTuple):
    family: str
    text: str
    key: str
    factor: float


_VCPU: Final = (
    _Series("libvirt_domain_vcpu_time_seconds", "CPU time of the vCPU", "time", NS),
    _Series("libvirt_domain_vcpu_wait_seconds", "Time that the vCPU waited for I/O", "wait", NS),
    _Series(
        "libvirt_domain_vcpu_delay_seconds",
        "Time that the vCPU was ready to run but did not (steal)",
        "delay",
        NS,
    ),
)
_DISK: Final = (
    _Series("libvirt_domain_block_stats_read_bytes", "Bytes read", "rd.bytes", 1),
    _Series("libvirt_domain_block_stats_read_requests", "Read requests", "rd.reqs", 1),
    _Series("libvirt_domain_block_stats_read_time_seconds", "Time of reads", "rd.times", NS),
    _Series("libvirt_domain_block_stats_write_bytes", "Bytes written", "wr.bytes", 1),
    _Series("libvirt_domain_block_stats_write_requests", "Write requests", "wr.reqs", 1),
    _Series("libvirt_domain_block_stats_write_time_seconds", "Time of writes", "wr.times", NS),
)
_NET: Final = tuple(
    _Series(f"libvirt_domain_interface_stats_{way}_{what}", text, f"{short}.{key}", 1)
    for way, short, verb in (("receive", "rx", "received"), ("transmit", "tx", "sent"))
    for what, key, text in (
        ("bytes", "bytes", f"Bytes {verb}"),
        ("packets", "pkts", f"Packets {verb}"),
        ("errors", "errs", f"Errors in packets {verb}"),
        ("drops", "drop", f"Packets to be {verb} but dropped"),
    )
)


def families(records: Sequence[DomainRecord]) -> Iterator[Metric]:
    """All device families of these VMs; a value that is not a number is left out."""
    yield from _group(records, _VCPU, "vcpu", "vcpu.maximum", "vcpu")
    yield from _group(records, _DISK, "block", "block.count", "target_device")
    yield from _group(records, _NET, "net", "net.count", "target_device")
    usable = GaugeMetricFamily(
        "libvirt_domain_memory_stats_usable_bytes",
        "Memory the guest could use without swapping",
        labels=("domain", "uuid"),
    )
    for record in records:
        kib = record.stats.get("balloon.usable")
        if isinstance(kib, int | float):
            usable.add_metric((record.name, record.uuid), kib * KIB)
    yield usable


def _group(
    records: Iterable[DomainRecord],
    group: tuple[_Series, ...],
    prefix: str,
    count_key: str,
    label: str,
) -> list[CounterMetricFamily]:
    labels = ("domain", "uuid", label)
    made = [CounterMetricFamily(s.family, s.text, labels=labels) for s in group]
    for record in records:
        stats = record.stats
        count = stats.get(count_key, 0)
        for k in range(min(count, len(stats)) if isinstance(count, int) else 0):
            device = str(stats.get(f"{prefix}.{k}.name", k))
            for series, family in zip(group, made, strict=True):
                value = stats.get(f"{prefix}.{k}.{series.key}")
                if isinstance(value, int | float):
                    row = (record.name, record.uuid, device)
                    family.add_metric(row, value * series.factor)
    return made
