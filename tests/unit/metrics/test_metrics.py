"""The Prometheus endpoint over real HTTP, read back with prometheus_client's own parser."""

from __future__ import annotations

import gc
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from builders import a_host, a_vm, counters
from prometheus_client.parser import text_string_to_metric_families
from tests.contract.hypervisor_contract import ABSENT
from tests.unit.libvirt.domstats_records import HUNG, RECORD

from evenkeel.adapters.metrics.server import MetricsServer
from evenkeel.domain.errors import ConfigInvalid, MetricsUnavailable
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, VmId
from evenkeel.domain.plan import ActionKind, MitigationState
from evenkeel.domain.resources import Resource
from evenkeel.domain.sample import Ahead, HostCounters, HostTick
from evenkeel.domain.score import PairDeviation, PairScore
from evenkeel.domain.vm import VmState
from evenkeel.ports import Snapshot
from evenkeel.wire import Health

NAN = float("nan")


@dataclass
class Mitigated:
    kind: ActionKind
    state: MitigationState


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    found = [
        v for (n, ls), v in samples.items() if n == name and labels.items() <= dict(ls).items()
    ]
    assert len(found) == 1, f"{name}{labels}: {found}"
    return found[0]


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    servers: list[MetricsServer] = []

    def start(*args: Any) -> int:
        servers.append(MetricsServer("127.0.0.1:0", *args))
        return servers[-1].start()

    yield start
    for server in servers:
        server.close()


def host_counters(*vms: Any) -> HostCounters:
    return HostCounters(
        host=a_host(),
        monotonic_s=5.0,
        wall_s=1000.0,
        vms=vms,
        cpu_busy_ns=3_000_000_000,
        memory_used_mib=512.0,
        psi_cpu_some=0.25,
        psi_io_some=NAN,
    )


def test_libvirt_exporters_names(serve: Callable[..., int]) -> None:
    vm = a_vm("web", state=VmState.PAUSED)
    seen = counters(
        vm, run_s=2.5, delay_s=0.5, balloon_kib=1024, unused_kib=512, throttled_ns=7_000_000_000
    )
    record = ("web", vm.id, RECORD)
    samples = scrape(serve(lambda: Snapshot(Mode.ADVISE, host_counters(seen)), lambda: [record]))

    assert of(samples, "libvirt_up") == 1
    assert of(samples, "libvirt_domains") == 1
    assert of(samples, "libvirt_domain_info_state", domain="web", uuid=vm.id) == 3
    assert of(samples, "libvirt_domain_info_cpu_time_seconds_total", domain="web") == 2.5
    assert of(samples, "libvirt_domain_info_maximum_memory_bytes") == 128 * 2**20
    assert of(samples, "libvirt_domain_memory_stats_current_balloon_bytes") == 2**20
    assert of(samples, "libvirt_domain_memory_stats_unused_bytes") == 2**19
    assert of(samples, "libvirt_domain_memory_stats_usable_bytes") == 37952 * 1024
    assert of(samples, "libvirt_domain_vcpu_delay_seconds_total", vcpu="0") == 0.048176334
    assert of(samples, "libvirt_domain_vcpu_time_seconds_total", vcpu="1") == 1.05
    disk, net = {"target_device": "vda"}, {"target_device": "vnet0"}
    assert of(samples, "libvirt_domain_block_stats_read_bytes_total", **disk) == 4608
    assert of(samples, "libvirt_domain_block_stats_write_requests_total", **disk) == 1
    read_s = of(samples, "libvirt_domain_block_stats_read_time_seconds_total", **disk)
    assert read_s == pytest.approx(239009e-9)
    assert of(samples, "libvirt_domain_interface_stats_receive_packets_total", **net) == 16
    assert of(samples, "libvirt_domain_interface_stats_transmit_drops_total", **net) == 6
    assert of(samples, "evenkeel_vm_throttled_seconds_total") == 7
    assert of(samples, "evenkeel_host_psi_cpu_ratio") == 0.25
    assert of(samples, "evenkeel_host_cpu_busy_seconds_total") == 3
    assert not [n for n, _ in samples if n.startswith("evenkeel_host_psi_io")], "NaN is left out"


def test_scores_ticks_and_the_agent_itself(serve: Callable[..., int]) -> None:
    vm = a_vm("web")
    matrix = np.array([[1.5, NAN, 3.0, 4.0]])
    tick = HostTick(
        host=a_host(),
        taken_at_s=1.0,
        interval_s=5.0,
        vms=(vm,),
        demand=matrix,
        usage=matrix / 2,
        loss=np.array([[0.5, NAN, 0.0, 0.0]]),
        self_limited=matrix * 0,
        background=np.zeros(4),
        flaws=(frozenset(),),
        inside_loss=np.array([0.25]),
    )
    score = PairScore(vm.id, HOST_ITSELF, Resource.CPU, 42.0, 0.8, 0.5, 0.9, 60.0, 12, 5.0)
    ahead_of = replace(score, score=51.0, horizon_s=60.0)
    quantiles = np.arange(1 * 4 * 2 * 9, dtype=np.float32).reshape(1, 4, 2, 9)
    quantiles[0, 1] = NAN
    shown = Snapshot(
        mode=Mode.ACT,
        tick=tick,
        scores=(score, ahead_of),
        mitigations=(  # type: ignore[arg-type]
            Mitigated(ActionKind.PIN_APART, MitigationState.ACTIVE),
            Mitigated(ActionKind.PIN_APART, MitigationState.ROLLED_BACK),
        ),
        health=Health("1.2", 12.5, 3, 4, False, "hypervisor_timeout"),
        ahead=Ahead((5.0, 60.0), quantiles, ("cpu-short", *["built-in"] * 3)),
    )
    samples = scrape(serve(lambda: shown))

    assert of(samples, "libvirt_up") == 0
    assert of(samples, "evenkeel_vm_demand", domain="web", uuid=vm.id, resource="cpu") == 1.5
    assert of(samples, "evenkeel_vm_usage", resource="cpu") == 0.75
    assert of(samples, "evenkeel_vm_loss_ratio", resource="cpu") == 0.5
    assert of(samples, "evenkeel_vm_inside_loss_ratio", domain="web", uuid=vm.id) == 0.25
    assert not [
        ls for n, ls in samples if n == "evenkeel_vm_demand" and ("resource", "memory") in ls
    ]
    ahead = {ls: v for (n, ls), v in samples.items() if n == "evenkeel_vm_demand_ahead"}
    assert len(ahead) == 2 * 3, "p50 and p95 at a minute, what is not known left out"
    named = {"domain": "web", "resource": "cpu"}
    assert of(samples, "evenkeel_vm_demand_ahead", **named, quantile="0.5") == 9 + 3
    assert of(samples, "evenkeel_vm_demand_ahead", **named, quantile="0.95") == 9 + 7
    assert of(samples, "evenkeel_agent_short_model_info", resource="cpu", model="cpu-short") == 1
    assert of(samples, "evenkeel_pair_score", victim=vm.id, aggressor="host", resource="cpu") == 42
    assert of(samples, "evenkeel_pair_score_ahead", victim=vm.id, horizon_s="60") == 51
    assert of(samples, "evenkeel_mitigations_open", kind="pin_apart") == 1
    assert of(samples, "evenkeel_mitigations_open", kind="quota") == 0
    assert of(samples, "evenkeel_agent_tick_seconds") == 0.0125
    assert of(samples, "evenkeel_agent_spool_batches") == 3
    assert of(samples, "evenkeel_agent_spool_dropped_batches_total") == 4
    assert of(samples, "evenkeel_agent_mode", mode="act") == 1
    assert of(samples, "evenkeel_agent_mode", mode="observe") == 0
    assert of(samples, "evenkeel_agent_problem", code="hypervisor_timeout") == 1
    assert of(samples, "evenkeel_agent_info", version="1.2") == 1


def test_before_the_first_tick_there_is_nothing(serve: Callable[..., int]) -> None:
    assert scrape(serve(lambda: None)) == {}


def test_odd_names_and_values_survive(serve: Callable[..., int]) -> None:
    name = 'a/b "c" \\ größe\nx'
    seen = counters(replace(a_vm("x"), name=name), delay_s=None)
    odd = RECORD | {"block.0.rd.reqs": "many", "vcpu.1.time": None, "net.count": "x"}
    records = [(name, "id-x", odd), ("hung", ABSENT, HUNG)]
    samples = scrape(serve(lambda: Snapshot(Mode.ADVISE, host_counters(seen)), lambda: records))

    assert of(samples, "libvirt_domain_info_cpu_time_seconds_total", domain=name) == 0
    assert of(samples, "libvirt_domain_block_stats_read_bytes_total", domain=name) == 4608
    assert not [n for n, _ in samples if n == "libvirt_domain_block_stats_read_requests_total"]
    assert of(samples, "libvirt_domain_vcpu_time_seconds_total", domain="hung", vcpu="0") == 2.46


def test_memory_does_not_grow_while_vms_come_and_go(serve: Callable[..., int]) -> None:
    generation = 0

    def source() -> Snapshot:
        return Snapshot(
            Mode.ADVISE, host_counters(*(counters(a_vm(f"g{generation}-{k}")) for k in range(20)))
        )

    port = serve(source, lambda: [(f"g{generation}", "u", RECORD)])
    sizes = []
    tracemalloc.start()
    try:
        for generation in range(60):
            assert len({ls for n, ls in scrape(port) if n == "libvirt_domain_info_state"}) == 20
            if generation in (9, 59):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert sizes[1] - sizes[0] < 100_000, "50 generations of 20 VMs"


def test_a_taken_port_is_a_clear_error(serve: Callable[..., int]) -> None:
    port = serve(lambda: None)

    server = MetricsServer(f"127.0.0.1:{port}", lambda: None)
    with pytest.raises(MetricsUnavailable, match=str(port)):
        server.start()
    server.close()


@pytest.mark.parametrize("listen", ["", "9177", ":9177", "host", "host:port", "h:70000", "h:-1"])
def test_listen_must_be_host_and_port(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="HOST:PORT"):
        MetricsServer(listen, lambda: None)


def test_an_address_that_is_not_ours_is_a_clear_error() -> None:
    with pytest.raises(MetricsUnavailable):
        MetricsServer("192.0.2.77:0", lambda: None).start()


def test_a_closed_server_frees_its_port() -> None:
    first = MetricsServer("127.0.0.1:0", lambda: None)
    port = first.start()
    first.close()

    second = MetricsServer(f"127.0.0.1:{port}", lambda: None)
    assert second.start() == port
    assert scrape(port) == {}
    second.close()


def test_predicted_against_measured_is_shown_and_stays_small(serve: Callable[..., int]) -> None:
    counts = np.zeros((4, 4, 12))
    counts[:, 0, 6] = (20, 7.0, 8.5, 0.4)
    pairs = tuple(
        PairDeviation(VmId(f"v{k}"), VmId("b"), Resource.CPU, 0.05, 0.31, 1.0, 9, 5.0)
        for k in range(400)
    )
    snapshot = Snapshot(Mode.ADVISE, deviating=pairs, reliability={5.0: counts, 60.0: counts})
    samples = scrape(serve(lambda: snapshot, tuple))
    where = {"resource": "cpu", "horizon_s": "60", "from": "0.4"}
    assert of(samples, "evenkeel_loss_predictions_total", **where) == 20
    assert of(samples, "evenkeel_loss_predicted_sum_total", **where) == 7
    assert of(samples, "evenkeel_loss_measured_sum_total", **where) == 8.5
    assert of(samples, "evenkeel_pairs_deviating") == 400
    pair = {"victim": "v0", "aggressor": "b", "resource": "cpu"}
    assert of(samples, "evenkeel_pair_loss_predicted_ratio", **pair) == 0.05
    assert of(samples, "evenkeel_pair_loss_measured_ratio", **pair) == 0.31
    shown = [name for name, _ in samples if name == "evenkeel_pair_loss_measured_ratio"]
    assert len(shown) == 50
    assert len([n for n, _ in samples if n == "evenkeel_loss_predictions_total"]) == 2
