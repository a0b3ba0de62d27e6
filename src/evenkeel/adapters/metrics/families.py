"""Turns a snapshot into metric families: the libvirt exporters' names, then Evenkeel's own.

Families are built anew for every scrape from the snapshot alone, so a VM that left takes its
series along and nothing grows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from evenkeel.domain.host import Mode
from evenkeel.domain.plan import OPEN_STATES, ActionKind
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.reliability import EDGES
from evenkeel.domain.resources import AXIS
from evenkeel.domain.sample import Ahead, HostCounters, HostTick, VmCounters
from evenkeel.domain.score import PRESENT_S
from evenkeel.domain.vm import VmState
from evenkeel.ports import Snapshot

VM_LABELS: Final = ("domain", "uuid")
AHEAD_QUANTILES: Final = (0.5, 0.95)
MOST_PAIRS: Final = 50
"""Pairs that deviate are shown up to so many; `evenkeel_pairs_deviating` counts all."""
_SHOWN: Final = [QUANTILES.index(level) for level in AHEAD_QUANTILES]
NS: Final = 1e-9
KIB: Final = 1024
_STATE_NUMBERS: Final = {
    VmState.OTHER: 0,
    VmState.RUNNING: 1,
    VmState.PAUSED: 3,
    VmState.SHUTOFF: 5,
    VmState.CRASHED: 6,
}
"""As libvirt numbers them, and the exporters with it."""

Value = Callable[[VmCounters], float | None]


def _scaled(field: str, factor: float) -> Value:
    def value(vm: VmCounters) -> float | None:
        raw = getattr(vm, field)
        return None if raw is None else raw * factor

    return value


_VM_COUNTERS: Final[tuple[tuple[str, str, Value], ...]] = (
    ("libvirt_domain_info_cpu_time_seconds", "CPU time used", _scaled("cpu_time_ns", NS)),
    (
        "evenkeel_vm_throttled_seconds",
        "Time that the VM's own CPU quota held its vCPUs back",
        _scaled("throttled_ns", NS),
    ),
)

_VM_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    (
        "libvirt_domain_info_state",
        "State as libvirt numbers it (1: running, 3: paused)",
        lambda vm: _STATE_NUMBERS[vm.vm.state],
    ),
    ("libvirt_domain_info_virtual_cpus", "vCPUs online", lambda vm: vm.vm.n_vcpus),
    (
        "libvirt_domain_info_maximum_memory_bytes",
        "Memory the VM may have",
        lambda vm: vm.vm.memory_mib * KIB * KIB,
    ),
    (
        "libvirt_domain_info_memory_usage_bytes",
        "Memory the VM has",
        _scaled("balloon_kib", KIB),
    ),
    (
        "libvirt_domain_memory_stats_current_balloon_bytes",
        "Memory the balloon leaves the guest",
        _scaled("balloon_kib", KIB),
    ),
    (
        "libvirt_domain_memory_stats_unused_bytes",
        "Memory the guest leaves unused",
        _scaled("unused_kib", KIB),
    ),
    (
        "libvirt_domain_memory_stats_available_bytes",
        "Memory the guest sees",
        _scaled("available_kib", KIB),
    ),
    (
        "libvirt_domain_memory_stats_rss_bytes",
        "Host memory of the VM's process",
        _scaled("rss_kib", KIB),
    ),
)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """All metric families of a snapshot. NaN and unknown values are left out."""
    counters = snapshot.counters
    yield GaugeMetricFamily(
        "libvirt_up", "Whether libvirt answered in the last tick", value=float(counters is not None)
    )
    if counters is not None:
        yield from _of_vms(counters)
        yield from _of_host(counters)
    if snapshot.tick is not None:
        yield from _of_tick(snapshot.tick)
        if snapshot.ahead is not None:
            yield from _of_ahead(snapshot.tick, snapshot.ahead)
    yield from _of_scores(snapshot)
    yield from _of_watch(snapshot)
    yield from _of_agent(snapshot)


def _of_vms(counters: HostCounters) -> Iterator[Metric]:
    vms = counters.vms
    yield GaugeMetricFamily("libvirt_domains", "Running and paused VMs", value=len(vms))
    for name, text, value in _VM_COUNTERS:
        counter = CounterMetricFamily(name, text, labels=VM_LABELS)
        _fill(counter, vms, value)
        yield counter
    for name, text, value in _VM_GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=VM_LABELS)
        _fill(gauge, vms, value)
        yield gauge


def _fill(
    family: CounterMetricFamily | GaugeMetricFamily, vms: Iterable[VmCounters], value: Value
) -> None:
    for vm in vms:
        number = value(vm)
        if number is not None:
            family.add_metric((vm.vm.name, vm.vm.id), number)


def _of_host(counters: HostCounters) -> Iterator[Metric]:
    pressures = (
        ("cpu", counters.psi_cpu_some),
        ("memory", counters.psi_memory_some),
        ("io", counters.psi_io_some),
    )
    for resource, value in pressures:
        if not math.isnan(value):
            yield GaugeMetricFamily(
                f"evenkeel_host_psi_{resource}_ratio",
                f"Share of the last 10 s in which some task waited for {resource}",
                value=value,
            )
    if counters.cpu_busy_ns is not None:
        yield CounterMetricFamily(
            "evenkeel_host_cpu_busy_seconds",
            "Time that the CPUs for VMs were busy",
            value=counters.cpu_busy_ns * NS,
        )
    if not math.isnan(counters.memory_used_mib):
        yield GaugeMetricFamily(
            "evenkeel_host_memory_used_bytes",
            "Host memory not available to a new process",
            value=counters.memory_used_mib * KIB * KIB,
        )


def _of_tick(tick: HostTick) -> Iterator[Metric]:
    shown = (
        ("evenkeel_vm_demand", "What the VM wanted, in the resource's unit", tick.demand),
        ("evenkeel_vm_usage", "What the VM got, in the resource's unit", tick.usage),
        ("evenkeel_vm_loss_ratio", "Share of its demand lost to others", tick.loss),
    )
    for name, text, matrix in shown:
        family = GaugeMetricFamily(name, text, labels=(*VM_LABELS, "resource"))
        for vm, row in zip(tick.vms, matrix.tolist(), strict=True):
            for resource, value in zip(AXIS, row, strict=True):
                if not math.isnan(value):
                    family.add_metric((vm.name, vm.id, resource.value), value)
        yield family
    if tick.inside_loss is not None:
        inside = GaugeMetricFamily(
            "evenkeel_vm_inside_loss_ratio",
            "Share of its work that the VM's own profiler says it did not get done",
            labels=VM_LABELS,
        )
        for vm, value in zip(tick.vms, tick.inside_loss.tolist(), strict=True):
            if not math.isnan(value):
                inside.add_metric((vm.name, vm.id), value)
        yield inside


def _of_ahead(tick: HostTick, ahead: Ahead) -> Iterator[Metric]:
    """At the furthest horizon, and two quantiles: nine at five horizons would be a flood."""
    family = GaugeMetricFamily(
        "evenkeel_vm_demand_ahead",
        f"Quantile of what the VM will want in {ahead.horizons_s[-1]:g} s, in the resource's unit",
        labels=(*VM_LABELS, "resource", "quantile"),
    )
    shown = ahead.quantiles[:, :, -1, _SHOWN].tolist()
    for vm, row in zip(tick.vms, shown, strict=True):
        for resource, pair in zip(AXIS, row, strict=True):
            for level, value in zip(AHEAD_QUANTILES, pair, strict=True):
                if not math.isnan(value):
                    family.add_metric((vm.name, vm.id, resource.value, f"{level:g}"), value)
    yield family
    models = GaugeMetricFamily(
        "evenkeel_agent_short_model_info",
        "Who forecasts the next minute",
        labels=("resource", "model"),
    )
    for resource, model in zip(AXIS, ahead.models, strict=True):
        models.add_metric((resource.value, model), 1.0)
    yield models


def _of_scores(snapshot: Snapshot) -> Iterator[Metric]:
    scores = GaugeMetricFamily(
        "evenkeel_pair_score",
        "Contention score (0-100) of victim from aggressor",
        labels=("victim", "aggressor", "resource"),
    )
    ahead = GaugeMetricFamily(
        "evenkeel_pair_score_ahead",
        "Contention score (0-100) of victim from aggressor, so many seconds from now",
        labels=("victim", "aggressor", "resource", "horizon_s"),
    )
    for pair in snapshot.scores:
        names = (pair.victim, pair.aggressor, pair.resource.value)
        if pair.horizon_s == PRESENT_S:
            scores.add_metric(names, pair.score)
        else:
            ahead.add_metric((*names, f"{pair.horizon_s:g}"), pair.score)
    yield scores
    yield ahead
    n_open = Counter(m.kind for m in snapshot.mitigations if m.state in OPEN_STATES)
    mitigations = GaugeMetricFamily(
        "evenkeel_mitigations_open", "Mitigations in force", labels=("kind",)
    )
    for kind in ActionKind:
        mitigations.add_metric((kind.value,), n_open[kind])
    yield mitigations


def _of_watch(snapshot: Snapshot) -> Iterator[Metric]:
    """Predicted against measured: the pairs that deviate (the worst), and all sums by bin."""
    pair_labels = ("victim", "aggressor", "resource")
    predicted = GaugeMetricFamily(
        "evenkeel_pair_loss_predicted_ratio",
        "Predicted loss of a pair that deviates, since it does",
        labels=pair_labels,
    )
    measured = GaugeMetricFamily(
        "evenkeel_pair_loss_measured_ratio",
        "Measured loss of a pair that deviates, since it does",
        labels=pair_labels,
    )
    for one in snapshot.deviating[:MOST_PAIRS]:
        pair = (one.victim, one.aggressor, one.resource.value)
        predicted.add_metric(pair, one.predicted_loss)
        measured.add_metric(pair, one.measured_loss)
    yield predicted
    yield measured
    yield GaugeMetricFamily(
        "evenkeel_pairs_deviating",
        "Pairs whose loss is not as predicted",
        value=len(snapshot.deviating),
    )
    labels = ("resource", "horizon_s", "from")
    shown = (
        ("evenkeel_loss_predictions", "Predictions that were held against what came"),
        ("evenkeel_loss_predicted_sum", "Sum of their predicted losses (shares)"),
        ("evenkeel_loss_measured_sum", "Sum of the losses that came (shares)"),
    )
    for k, (name, text) in enumerate(shown):
        family = CounterMetricFamily(name, text, labels=labels)
        for horizon_s, counts in snapshot.reliability.items():
            for resource, row, n in zip(AXIS, counts[k], counts[0], strict=True):
                for lower, value, any_ in zip(EDGES, row.tolist(), n.tolist(), strict=True):
                    if any_:
                        family.add_metric((resource.value, f"{horizon_s:g}", f"{lower:g}"), value)
        yield family


def _of_agent(snapshot: Snapshot) -> Iterator[Metric]:
    health = snapshot.health
    yield GaugeMetricFamily(
        "evenkeel_agent_tick_seconds", "Length of the last tick", value=health.tick_ms / 1000
    )
    yield GaugeMetricFamily(
        "evenkeel_agent_spool_batches",
        "Batches that wait for the controller",
        value=health.spool_batches,
    )
    yield CounterMetricFamily(
        "evenkeel_agent_spool_dropped_batches",
        "Batches lost to the spool's bound or a full disk",
        value=health.spool_dropped,
    )
    mode = GaugeMetricFamily("evenkeel_agent_mode", "1 for the present mode", labels=("mode",))
    for one in Mode:
        mode.add_metric((one.value,), float(one is snapshot.mode))
    yield mode
    problem = GaugeMetricFamily(
        "evenkeel_agent_problem", "1 while the agent has a problem, by code", labels=("code",)
    )
    if health.problem:
        problem.add_metric((health.problem,), 1.0)
    yield problem
    info = GaugeMetricFamily("evenkeel_agent_info", "Version of the agent", labels=("version",))
    info.add_metric((health.agent_version,), 1.0)
    yield info
